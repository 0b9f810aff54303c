/* A line for a single op that is timed. SPDX-License-Identifier: Apache-2.0 */
#include "bench_op_line.h"

#include <stdio.h>

para_dtype bench_type(const request_options *o) {
    return o->dtype == 1 ? PARA_BF16 : PARA_F32;
}

/* "attention-B1-H24-S4608-D128", "linear-M4608-N9216-K3072", "copy-1073741824" */
static void op_name(char *out, size_t size, const para_bench_op *op) {
    const int64_t *s = op->size;
    char keys[32] = "";
    if (s[2] != s[3]) snprintf(keys, sizeof keys, "x%lld", (long long)s[3]);
    switch (op->kind) {
    case PARA_BENCH_LINEAR:
        snprintf(out, size, "linear-M%lld-N%lld-K%lld", (long long)s[0], (long long)s[1], (long long)s[2]);
        return;
    case PARA_BENCH_ATTENTION:
        snprintf(out, size, "attention-B%lld-H%lld-S%lld%s-D%lld%s", (long long)s[0], (long long)s[1], (long long)s[2],
                 keys, (long long)s[4], op->causal ? "-causal" : "");
        return;
    default: snprintf(out, size, "copy-%lld", (long long)s[0]);
    }
}

para_status bench_show_op(const session *s, const bench_csv *csv, const para_bench_op *op, double ceiling,
                          double *rate) {
    char name[128];
    para_bench_rate r;
    para_status status = para_bench_run_op(s->world, op, &r);
    if (status != PARA_OK || !s->first) return status;
    op_name(name, sizeof name, op);
    *rate = (r.flops > 0 ? r.flops : r.bytes) / r.ms * 1e3;
    printf("%-40s %11.5f ms %9.4g %s", name, r.ms, *rate / (r.flops > 0 ? 1e12 : 1e9),
           r.flops > 0 ? "TFLOP/s" : "GB/s");
    if (ceiling > 0) printf(" %6.1f %% of the ceiling", 100 * *rate / ceiling);
    printf("\n");
    fflush(stdout);
    return !csv->file || bench_csv_add(csv, s->world, name, r.ms) ? PARA_OK : PARA_ERR_IO;
}

para_status bench_show_ceiling(const session *s, const request_options *o, const bench_csv *csv, double *rate) {
    int64_t n = o->device.gpu ? 8192 : 1024;
    return bench_show_op(s, csv, &(para_bench_op){.kind = PARA_BENCH_LINEAR, .dtype = bench_type(o), .size = {n, n, n}},
                         0, rate);
}
