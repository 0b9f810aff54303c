/* para bench attention, linear: single ops. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "bench_op_line.h"
#include "benchmarks.h"
#include "complain.h"

typedef struct rate_options {
    request_options request;
    bench_csv csv;
    number_list shapes;
    bool causal;
} rate_options;

static para_status show_shapes(const session *s, const rate_options *o, para_bench_kind kind, const double *sizes,
                               int count, int each) {
    double ceiling, rate;
    para_status status = bench_show_ceiling(s, &o->request, &o->csv, &ceiling);
    for (int i = 0; i < count && status == PARA_OK; i += each) {
        para_bench_op op = {.kind = kind, .dtype = bench_type(&o->request), .causal = o->causal};
        for (int k = 0; k < each; k++) op.size[k] = (int64_t)sizes[i + k];
        status = bench_show_op(s, &o->csv, &op, ceiling, &rate);
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
