/* What goes wrong, in a sentence on standard error. SPDX-License-Identifier: Apache-2.0 */
#include "complain.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int process_number(void) {
    static const char *const variable[] = {"OMPI_COMM_WORLD_RANK", "RANK", "PMIX_RANK", "PMI_RANK"};
    for (size_t i = 0; i < sizeof variable / sizeof *variable; i++)
        if (getenv(variable[i])) return atoi(getenv(variable[i]));
    return 0;
}

/* An error reaches all processes. Process 0 says it and ends, upon which mpirun ends the others; one that still lives after a moment, since it
 * is the only one with this error or process 0 is lost, says it itself. */
static void wait_for_process_0(void) {
    int number = process_number();
    if (number == 0) return;
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    struct timespec moment = {.tv_sec = 1, .tv_nsec = 50000000L * (number < 10 ? number : 10)};
    nanosleep(&moment, NULL);
}

void complain(const char *name, const char *format, ...) {
    va_list args;
    wait_for_process_0();
    va_start(args, format);
    fprintf(stderr, "para %s: ", name);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}
