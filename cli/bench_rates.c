/* para bench attention, linear, machine: single ops. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "bench_result.h"
#include "benchmarks.h"
#include "complain.h"
#include "session.h"

typedef struct rate_options {
    request_options request;
    bench_csv csv;
    number_list shapes;
    bool causal;
} rate_options;

static para_dtype type_of(const rate_options *o) {
    return o->request.dtype == 1 ? PARA_BF16 : PARA_F32;
}

/* "attention-B1-H24-S4608-D128", "linear-M4608-N9216-K3072", "copy-1073741824" */
static void op_name(char *out, size_t size, const para_bench_op *op) {
    const int64_t *s = op->size;
    char keys[32] = "";
    if (s[2] != s[3]) snprintf(keys, sizeof keys, "x%lld", (long long)s[3]);
    switch (op->kind) {
    case PARA_BENCH_LINEAR:
        snprintf(out, size, "linear-M%lld-N%lld-K%lld", (long long)s[0], (long long)s[1], (long long)s[2]);
        break;
    case PARA_BENCH_ATTENTION:
        snprintf(out, size, "attention-B%lld-H%lld-S%lld%s-D%lld%s", (long long)s[0], (long long)s[1], (long long)s[2],
                 keys, (long long)s[4], op->causal ? "-causal" : "");
        break;
    case PARA_BENCH_COPY: snprintf(out, size, "copy-%lld", (long long)s[0]); break;
    }
}

/* Measures and shows an op; ceiling: FLOPs a second to compare with, or 0. */
static para_status show_op(const session *s, const rate_options *o, const para_bench_op *op, double ceiling,
                           double *rate) {
    char name[128];
    para_bench_rate r;
    para_status status = para_bench_run_op(s->world, op, &r);
    if (status != PARA_OK) return status;
    op_name(name, sizeof name, op);
    *rate = (r.flops > 0 ? r.flops : r.bytes) / r.ms * 1e3;
    printf("%-40s %11.5f ms %9.4g %s", name, r.ms, *rate / (r.flops > 0 ? 1e12 : 1e9),
           r.flops > 0 ? "TFLOP/s" : "GB/s");
    if (ceiling > 0) printf(" %6.1f %% of the ceiling", 100 * *rate / ceiling);
    printf("\n");
    fflush(stdout);
    return !o->csv.file || bench_csv_add(&o->csv, s->world, name, r.ms) ? PARA_OK : PARA_ERR_IO;
}

/* A product so large that only the machine limits it. */
static para_status show_ceiling(const session *s, const rate_options *o, double *rate) {
    int64_t n = o->request.device.gpu ? 8192 : 1024;
    return show_op(s, o, &(para_bench_op){PARA_BENCH_LINEAR, type_of(o), {n, n, n}, false}, 0, rate);
}

static para_status show_shapes(const session *s, const rate_options *o, para_bench_kind kind, const double *sizes,
                               int count, int each) {
    double ceiling, rate;
    para_status status = show_ceiling(s, o, &ceiling);
    for (int i = 0; i < count && status == PARA_OK; i += each) {
        para_bench_op op = {.kind = kind, .dtype = type_of(o), .causal = o->causal};
        for (int k = 0; k < each; k++) op.size[k] = (int64_t)sizes[i + k];
        status = show_op(s, o, &op, ceiling, &rate);
    }
    return status;
}

static int measure(rate_options *o, para_bench_kind kind, const double *sizes, int count, int each) {
    session s;
    if (!o->csv.variant) o->csv.variant = dtype_choices[o->request.dtype];
    if (o->shapes.value) sizes = o->shapes.value, count = o->shapes.count;
    if (count % each) {
        complain("bench", "--shapes has %d numbers; give %d for each shape", count, each);
        return EXIT_USAGE;
    }
    para_status status = session_open_world(&s, "bench", &o->request, NULL);
    if (status == PARA_OK) status = show_shapes(&s, o, kind, sizes, count, each);
    return session_close(&s, status);
}

#define RATE_OPTIONS(o) DEVICE_OPTIONS((o).request), CSV_OPTIONS((o).csv)

static const char rules[] = "\nThe median of five rounds of 20 calls on random data, on buffers in turn; on a GPU they "
                            "are recorded and played. The first line\n"
                            "is the ceiling: a large matrix product.\n";

int bench_attention(int argc, char **argv) {
    static const double flux_and_video[] = {1, 24, 1152,  1152,  128, 1, 24, 4608, 4608, 128, 1, 24, 16384, 16384, 128,
                                            1, 24, 32768, 32768, 128, 2, 24, 4096, 4096, 64,  1, 48, 17776, 17776, 64};
    static rate_options o = {.request = REQUEST_OPTIONS_INIT};
    static const option options[] = {
        {"--shapes", OPTION_NUMBERS, &o.shapes, "B,H,SQ,SKV,D,...", NULL,
         "five numbers for each (those of FLUX and of video models)"},
        {"--causal", OPTION_FLAG, &o.causal, NULL, NULL, "a query sees the keys up to its own place"},
        RATE_OPTIONS(o),
        {0},
    };
    static char details[600];
    snprintf(details, sizeof details, "%s\nExamples:\n  para bench attention --shapes 1,4,128,128,64,1,4,64,256,64\n",
             rules);
    const command c = {
        .name = "bench attention", .summary = "Times attention alone.", .details = details, .options = options};
    const char *operand;
    bool help;
    int code = parse_options(&c, argc, argv, &operand, &help);
    if (code == EXIT_DONE && !help)
        code = measure(&o, PARA_BENCH_ATTENTION, flux_and_video, sizeof flux_and_video / sizeof *flux_and_video, 5);
    free(o.shapes.value);
    return code;
}

int bench_linear(int argc, char **argv) {
    static const double flux[] = {4608, 9216, 3072,  4608, 12288, 3072, 4608, 3072, 12288, 4608, 21504, 3072,
                                  4608, 3072, 15360, 4608, 3072,  3072, 4096, 9216, 3072,  512,  9216,  3072};
    static rate_options o = {.request = REQUEST_OPTIONS_INIT};
    static const option options[] = {
        {"--shapes", OPTION_NUMBERS, &o.shapes, "M,N,K,...", NULL, "three numbers for each (those of FLUX)"},
        RATE_OPTIONS(o),
        {0},
    };
    static char details[600];
    snprintf(details, sizeof details, "%s\nExamples:\n  para bench linear --shapes 128,256,64,512,256,256\n", rules);
    const command c = {.name = "bench linear",
                       .summary = "Times linear layers alone: [M, K] times the transpose of [N, K].",
                       .details = details,
                       .options = options};
    const char *operand;
    bool help;
    int code = parse_options(&c, argc, argv, &operand, &help);
    if (code == EXIT_DONE && !help) code = measure(&o, PARA_BENCH_LINEAR, flux, sizeof flux / sizeof *flux, 3);
    free(o.shapes.value);
    return code;
}

static para_status show_machine(const session *s, const rate_options *o) {
    bool gpu = o->request.device.gpu;
    double rate;
    para_bench_op attention = {PARA_BENCH_ATTENTION, type_of(o), {1, 24, 4608, 4608, 128}, false};
    if (!gpu) attention.size[2] = attention.size[3] = 1024;
    printf("%s\n", para_world_device_name(s->world));
    para_status status = show_ceiling(s, o, &rate);
    if (status == PARA_OK) status = show_op(s, o, &attention, 0, &rate);
    return status == PARA_OK
               ? show_op(s, o, &(para_bench_op){PARA_BENCH_COPY, PARA_F32, {gpu ? 1 << 30 : 1 << 26}, false}, 0, &rate)
               : status;
}

int bench_machine(int argc, char **argv) {
    static rate_options o = {.request = REQUEST_OPTIONS_INIT};
    static const option options[] = {RATE_OPTIONS(o), {0}};
    const command c = {.name = "bench machine",
                       .summary = "Measures what limits all else: a large matrix product, attention, a copy in memory.",
                       .details =
                           "\nA copy counts bytes read and written.\n\nExamples:\n  para bench machine --dtype bf16\n",
                       .options = options};
    const char *operand;
    bool help;
    session s;
    int code = parse_options(&c, argc, argv, &operand, &help);
    if (code != EXIT_DONE || help) return code;
    if (!o.csv.variant) o.csv.variant = dtype_choices[o.request.dtype];
    para_status status = session_open_world(&s, "bench", &o.request, NULL);
    if (status == PARA_OK) status = show_machine(&s, &o);
    return session_close(&s, status);
}
