/* What the benchmarks share. SPDX-License-Identifier: Apache-2.0 */
#include "bench_result.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "complain.h"
#include "session.h"

enum { MAX_REPEATS = 10000 };

static bool is_model(const char *folder) {
    char path[PATH_MAX];
    struct stat at;
    return snprintf(path, sizeof path, "%s/model_index.json", folder) < (int)sizeof path && stat(path, &at) == 0;
}

const char *bench_model(const char *name, char *path) {
    char here[PATH_MAX] = "";
    if (is_model(name)) return name;
    if (snprintf(path, PATH_MAX, "bench/configs/%s", name) < PATH_MAX && is_model(path)) return path;
    ssize_t n = readlink("/proc/self/exe", here, sizeof here - 1);
    char *slash = n > 0 ? strrchr(here, '/') : NULL;
    if (slash) *slash = '\0';
    if (slash && snprintf(path, PATH_MAX, "%s/../share/paraattn/configs/%s", here, name) < PATH_MAX && is_model(path))
        return path;
    return name;
}

void bench_case(char *out, size_t size, const char *model, const para_plan *p) {
    size_t length = strlen(model);
    while (length > 1 && model[length - 1] == '/') length--;
    size_t from = length;
    while (from > 0 && model[from - 1] != '/') from--;
    char high[16] = "", frames[16] = "", text[32] = "";
    if (p->height != p->width) snprintf(high, sizeof high, "x%d", p->height);
    if (p->num_frames > 1) snprintf(frames, sizeof frames, "x%df", p->num_frames);
    if (p->text_tokens != 512) snprintf(text, sizeof text, "-t%lld", (long long)p->text_tokens);
    snprintf(out, size, "%.*s-%d%s%s%s", (int)(length - from), model + from, p->width, high, frames, text);
}

int bench_begin(request_options *o, int repeats, bench_csv *csv, progress_view *view, bool quiet) {
    request_options_finish(o);
    progress_open(view, quiet || process_number() > 0);
    session_catch_signals();
    if (!csv->variant) csv->variant = dtype_choices[o->dtype];
    int code = cache_arguments_finish(&o->cache, "bench", false);
    if (code != EXIT_DONE) return code;
    if (repeats < 1 || repeats > MAX_REPEATS) {
        complain("bench", "--repeats %d: give 1 to %d", repeats, (int)MAX_REPEATS);
        return EXIT_USAGE;
    }
    return EXIT_DONE;
}

int bench_check_wait(bool wait, const char *beside) {
    if (!wait || !beside) return EXIT_DONE;
    complain("bench", "--wait goes without %s: it prints the time of each run and nothing else", beside);
    return EXIT_USAGE;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *values, int n) {
    qsort(values, (size_t)n, sizeof *values, compare);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

bool bench_csv_add(const bench_csv *csv, const para_world *world, const char *what, double ms) {
    char today[16];
    time_t now = time(NULL);
    strftime(today, sizeof today, "%Y-%m-%d", localtime(&now));
    FILE *f = fopen(csv->file, "a");
    if (f && ftell(f) == 0) fprintf(f, "run,gpu,gpus,case,system,variant,ms\n");
    if (f)
        fprintf(f, "%s,%s,%d,%s,para,%s,%.5f\n", csv->run ? csv->run : today, para_world_device_name(world),
                para_world_size(world), what, csv->variant, ms);
    bool written = f && !ferror(f);
    if (f && fclose(f) != 0) written = false;
    if (!written) complain("bench", "'%s' cannot be written: %s", csv->file, strerror(errno));
    return written;
}
