/* para: diffusion transformers on the command line. SPDX-License-Identifier: Apache-2.0 */
#include <paraattn/paraattn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "options.h"

static const struct {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"generate", "draw pictures from a prompt", command_generate},
    {"info", "show what a model, or this program, is made of", command_info},
    {"plan", "show what a request would cost, without loading anything", command_plan},
    {"verify", "compare a picture of many ranks with that of one, stage by stage", command_verify},
    {"bench", "measure speed, and what it costs", command_bench},
};

static void usage(FILE *to) {
    fprintf(to, "Usage: para COMMAND [ARGUMENT]...\n\nCommands:\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(to, "\n  para COMMAND --help   explains a command, with examples\n"
                "  para --version        names the version and what is built in\n\n"
                "Example:\n"
                "  para generate models/tiny-flux --prompt \"a red heart on a blue background\" -o heart.png\n");
}

/* What went to standard output must have arrived: a full disk is a failure. */
static int finish(int code) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return code;
    perror("para: standard output cannot be written");
    return code == EXIT_DONE ? EXIT_FAILED : code;
}

/* OpenMP's threads wait for each other by spinning, which on a busy machine takes the time of the thread that they wait for. The run-time
 * library reads how long when it is loaded, so the program sets it and starts once more. */
static void bound_spinning(char **argv) {
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY")) return;
    if (setenv("GOMP_SPINCOUNT", "20000", 1) == 0) execv("/proc/self/exe", argv);
}

int main(int argc, char **argv) {
    bound_spinning(argv);
    if (argc < 2) {
        usage(stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        usage(stdout);
        return finish(EXIT_DONE);
    }
    if (strcmp(name, "--version") == 0) {
        printf("para %s\n%s\n", para_version(), para_build_info());
        return finish(EXIT_DONE);
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(name, commands[i].name) == 0) return finish(commands[i].run(argc - 2, argv + 2));
    fprintf(stderr, "para: there is no command '%s'; para --help lists them\n", name);
    return EXIT_USAGE;
}
