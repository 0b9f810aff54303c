/* Starts programs as a launcher does, with RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, on this host; its arguments are mpirun's.
 * Usage: launch -n N PROGRAM [ARGUMENT …] [: -n N PROGRAM …]. Once one fails the others are ended a moment later, and its exit status, or 128 and its
 * signal, is the launcher's. SPDX-License-Identifier: Apache-2.0 */
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 64 };

static pid_t process[MOST];
static int processes;

static void end_all(int number) {
    for (int i = 0; i < processes; i++)
        if (process[i] > 0) kill(process[i], number);
}

static void on_signal(int number) {
    end_all(number);
}

/* One that is free now. */
static int free_port(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int s = socket(AF_INET, SOCK_STREAM, 0);
    if (s < 0 || bind(s, (struct sockaddr *)&a, n) != 0 || getsockname(s, (struct sockaddr *)&a, &n) != 0) exit(70);
    close(s);
    return ntohs(a.sin_port);
}

static void set(const char *name, int value) {
    char text[16];
    snprintf(text, sizeof text, "%d", value);
    setenv(name, text, 1);
}

/* The processes of one part of the command line, whose end is NULL; without `count`, only counts them. */
static int start(char **part, bool count) {
    if (!part[0] || strcmp(part[0], "-n") != 0 || !part[1] || !part[2]) exit(64);
    int n = atoi(part[1]);
    for (int i = 0; i < n && !count; i++) {
        set("RANK", processes);
        set("LOCAL_RANK", processes);
        pid_t pid = fork();
        if (pid == 0) {
            execvp(part[2], part + 2);
            perror(part[2]);
            _exit(71);
        }
        process[processes++] = pid;
    }
    return n;
}

static int each_part(char **argument, bool count) {
    int n = 0;
    for (char **part = argument; *part;) {
        char **end = part;
        while (*end && strcmp(*end, ":") != 0) end++;
        char *colon = *end;
        *end = NULL;
        n += start(part, count);
        *end = colon;
        part = colon ? end + 1 : end;
    }
    return n;
}

int main(int argc, char **argv) {
    (void)argc;
    int n = each_part(argv + 1, true), failed = 0;
    if (n < 1 || n > MOST) return 64;
    set("WORLD_SIZE", n);
    set("MASTER_PORT", free_port());
    setenv("MASTER_ADDR", "127.0.0.1", 1);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    each_part(argv + 1, false);
    struct timespec now;
    double until = 0; /* seconds */
    for (int left = n; left > 0;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        clock_gettime(CLOCK_MONOTONIC, &now);
        double seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
        if (until > 0 && seconds > until) end_all(seconds > until + 1 ? SIGKILL : SIGTERM);
        if (pid <= 0) {
            nanosleep(&(struct timespec){0, 5000000}, NULL);
            continue;
        }
        left--;
        for (int i = 0; i < n; i++)
            if (process[i] == pid) process[i] = 0;
        int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        if (WIFSIGNALED(status) && !failed) fprintf(stderr, "launch: a process was ended by signal %d\n", WTERMSIG(status));
        if (code && !failed) {
            failed = code;
            until = seconds + 0.3;
        }
    }
    return failed;
}
