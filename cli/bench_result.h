/* What the benchmarks share: the configs that come with the project, medians, the CSV. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CLI_BENCH_RESULT_H
#define PARA_CLI_BENCH_RESULT_H

#include <paraattn/bench.h>

#include "progress.h"
#include "request_options.h"

/* Where results go, and under which names. */
typedef struct bench_csv {
    const char *file, *run, *variant;
} bench_csv;

/* Rows of a command's table; c: a bench_csv. */
#define CSV_OPTIONS(c)                                                                                                       \
    {"--csv", OPTION_TEXT, &(c).file, "FILE", NULL, "append the median: run,gpu,gpus,case,system,variant,ms"},               \
        {"--run", OPTION_TEXT, &(c).run, "NAME", NULL, "its column run: the same for what is measured together (default: today)"}, \
        {"--variant", OPTION_TEXT, &(c).variant, "NAME", NULL, "its column variant (default: the dtype)"}

/* For the help of what takes a config. */
#define BENCH_CONFIGS                                                                                                        \
    "CONFIG is a diffusers folder, or one of the configs that come with the project: flux.1-dev, flux.1-schnell,\n"          \
    "hunyuan-video, mochi-1-preview, cogvideox-2b, cogvideox-5b.\n"

/* The folder of a model: `name` itself, or a folder of this name among the configs that come with the project. In `path` [PATH_MAX]. */
const char *bench_model(const char *name, char *path);

/* "flux.1-dev-1024", "flux.1-dev-1040x976-t300": the folder's name, the size, the text where it is not of 512 tokens. */
void bench_case(char *out, size_t size, const char *model, const para_plan *plan);

/* Before a benchmark of a model: finishes and checks its options, names the variant where nobody did, opens the view. EXIT_DONE or EXIT_USAGE. */
int bench_begin(request_options *o, int repeats, bench_csv *csv, progress_view *view, bool quiet);

/* --wait prints the time of each run and nothing else: `beside` is an option that asks for more, or NULL. EXIT_DONE or EXIT_USAGE. */
int bench_check_wait(bool wait, const char *beside);

/* Sorts the n values; the one in the middle. */
double bench_median(double *values, int n);

/* Appends a row, and writes the header where the file is new; says why where it cannot. */
bool bench_csv_add(const bench_csv *csv, const para_world *world, const char *what, double ms);

#endif
