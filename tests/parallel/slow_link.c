/* A long way between two network namespaces: an interface in each, between which this program carries packets, each some time later. How many bytes a second
 * pass is tc's affair. (A kernel need not have tc's netem, which would delay packets, too.)
 * Usage: slow_link NAMESPACE INTERFACE NAMESPACE INTERFACE MILLISECONDS, as root. Writes "ready" and runs until a signal ends it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 65536 };

typedef struct packet {
    struct packet *next;
    int64_t due; /* nanoseconds of the clock */
    size_t n;
    char bytes[];
} packet;

/* Those on their way in one direction, in order. */
typedef struct way {
    int from, to;
    packet *first, **end;
} way;

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void fail(const char *what, const char *name) {
    fprintf(stderr, "slow_link: %s %s: ", what, name);
    perror("");
    exit(1);
}

static int open_interface(const char *space, const char *name) {
    char path[256];
    snprintf(path, sizeof path, "/var/run/netns/%s", space);
    int ns = open(path, O_RDONLY | O_CLOEXEC);
    if (ns < 0 || setns(ns, CLONE_NEWNET) != 0) fail("cannot enter", path);
    close(ns);
    int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    struct ifreq wanted = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    snprintf(wanted.ifr_name, sizeof wanted.ifr_name, "%s", name);
    if (device < 0 || ioctl(device, TUNSETIFF, &wanted) != 0) fail("cannot make", name);
    return device;
}

static void take_in(way *w, int64_t delay) {
    static char room[MOST];
    for (ssize_t n; (n = read(w->from, room, sizeof room)) > 0;) {
        packet *p = malloc(sizeof *p + (size_t)n);
        if (!p) fail("no memory for", "a packet");
        *p = (packet){.due = now() + delay, .n = (size_t)n};
        memcpy(p->bytes, room, (size_t)n);
        *w->end = p;
        w->end = &p->next;
    }
}

/* One that the other side has no room for is lost, as on any network. Nanoseconds until the next one, at most `least`. */
static int64_t give_out(way *w, int64_t least) {
    for (packet *p; (p = w->first);) {
        int64_t left = p->due - now();
        if (left > 0) return left < least ? left : least;
        if (write(w->to, p->bytes, p->n) < 0) fprintf(stderr, "slow_link: a packet was lost\n");
        if (!(w->first = p->next)) w->end = &w->first;
        free(p);
    }
    return least;
}

int main(int argc, char **argv) {
    if (argc != 6) return 64;
    int64_t delay = (int64_t)(atof(argv[5]) * 1e6);
    int left = open_interface(argv[1], argv[2]), right = open_interface(argv[3], argv[4]);
    way there = {left, right, NULL, &there.first}, back = {right, left, NULL, &back.first};
    puts("ready");
    fflush(stdout);
    for (;;) {
        int64_t wait = give_out(&back, give_out(&there, 1000000000));
        struct pollfd at[2] = {{.fd = left, .events = POLLIN}, {.fd = right, .events = POLLIN}};
        struct timespec t = {.tv_sec = wait / 1000000000, .tv_nsec = wait % 1000000000};
        if (ppoll(at, 2, &t, NULL) < 0) return 1;
        take_in(&there, delay);
        take_in(&back, delay);
    }
}
