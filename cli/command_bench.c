/* para bench: which benchmarks there are. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "benchmarks.h"
#include "commands.h"
#include "complain.h"
#include "options.h"

static const struct {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} benchmarks[] = {
    {"cache", "what the First Block Cache saves, and what it costs in quality", bench_cache},
    {"attention", "attention alone", bench_attention},
    {"linear", "linear layers alone", bench_linear},
    {"machine", "what limits all else, and the rates that times are predicted by", bench_machine},
    {"pipeline", "a whole picture, stage by stage", bench_pipeline},
    {"transformer", "a denoising step of a model", bench_transformer},
};

static void usage(FILE *to) {
    fprintf(to, "Usage: para bench BENCHMARK [ARGUMENT]...\nMeasures on this machine.\n\nBenchmarks:\n");
    for (size_t i = 0; i < sizeof benchmarks / sizeof *benchmarks; i++)
        fprintf(to, "  %-12s %s\n", benchmarks[i].name, benchmarks[i].summary);
    fprintf(to, "\n  para bench BENCHMARK --help   explains one, with examples\n");
}

int command_bench(int argc, char **argv) {
    bool help = argc == 0 || strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0;
    if (help) {
        usage(stdout);
        return EXIT_DONE;
    }
    for (size_t i = 0; i < sizeof benchmarks / sizeof *benchmarks; i++)
        if (strcmp(argv[0], benchmarks[i].name) == 0) return benchmarks[i].run(argc - 1, argv + 1);
    complain("bench", "there is no benchmark '%s'; para bench lists them", argv[0]);
    return EXIT_USAGE;
}
