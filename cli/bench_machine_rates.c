/* para bench machine: what a machine can do, and the file of rates that plans use. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "bench_op_line.h"
#include "benchmarks.h"

typedef struct machine_options {
    request_options request;
    bench_csv csv;
    const char *out;
    bool quick;
} machine_options;

static para_status show_limits(const session *s, const machine_options *o) {
    bool gpu = o->request.device.gpu;
    double rate;
    para_bench_op attention = {.kind = PARA_BENCH_ATTENTION,
                               .dtype = bench_type(&o->request),
                               .size = {1, 24, 4608, 4608, 128}},
                  copy = {.kind = PARA_BENCH_COPY, .dtype = PARA_F32, .size = {gpu ? 1 << 30 : 1 << 26}};
    attention.quick = copy.quick = o->quick;
    if (!gpu) attention.size[2] = attention.size[3] = o->quick ? 256 : 1024;
    if (s->first) printf("%s\n", para_world_device_name(s->world));
    para_status status = bench_show_ceiling(s, &o->request, &o->csv, &rate);
    if (status == PARA_OK) status = bench_show_op(s, &o->csv, &attention, 0, &rate);
    return status == PARA_OK ? bench_show_op(s, &o->csv, &copy, 0, &rate) : status;
}

/* "linear 1024 1024 256: 5.1 ms" */
static void show_point(void *user, const char *what, const double *row, int columns) {
    (void)user;
    printf("%-10s", what);
    for (int i = 0; i < columns - 1; i++) printf(" %10.0f", row[i]);
    printf("%*s %12.5f ms\n", 11 * (5 - columns), "", 1e3 * row[columns - 1]);
    fflush(stdout);
}

static para_status measure(const session *s, const machine_options *o) {
    para_bench_machine_options m = PARA_BENCH_MACHINE_OPTIONS_INIT;
    m.dtype = bench_type(&o->request);
    m.quick = o->quick;
    if (s->first) m.on_point = show_point;
    if (s->first)
        printf("\nlinear: M, N, K · attention: heads, queries, keys, head dim · exchanges between ranks of a process, "
               "of a host, of hosts:\n"
               "ranks that each sends to, bytes · all else: bytes read and written\n");
    para_status status = para_bench_machine(s->world, &m, o->out);
    if (status == PARA_OK && s->first)
        printf("\nwritten to %s; para plan uses it%s\n", o->out ? o->out : "the user's cache folder",
               o->out ? " with --machine" : "");
    return status;
}

int bench_machine(int argc, char **argv) {
    static machine_options o = {.request = REQUEST_OPTIONS_INIT};
    static const option options[] = {
        {"-o", OPTION_TEXT, &o.out, "FILE", NULL, "where to write the rates (machine.json in the user's cache folder)"},
        {"--quick", OPTION_FLAG, &o.quick, NULL, NULL,
         "few sizes and short rounds: seconds instead of minutes, and rougher"},
        {"--ranks", OPTION_INT, &o.request.ranks, "N", NULL,
         "ranks that compute at once, and exchange; under mpirun or torchrun, N in each process (1)"},
        CSV_OPTIONS(o.csv),
        DEVICE_OPTIONS(o.request),
        {0},
    };
    const command c = {.name = "bench machine",
                       .summary = "Measures what limits all else, and the rates that times are predicted by.",
                       .details = "\nFirst a large matrix product, attention, and a copy in memory, which counts bytes "
                                  "read and written. Then matrix products, "
                                  "attention\nand what memory limits by size, on all ranks at once, and exchanges "
                                  "between the ranks by size and number, into a "
                                  "file. para plan\npredicts times by it, and meshes that are not given are chosen by "
                                  "it. Rates of another device, type, number of "
                                  "threads or ranks\nstay in the file beside the new ones.\n"
                                  "\nExamples:\n  para bench machine --quick --ranks 2 -o machine.json\n",
                       .options = options};
    const char *operand;
    bool help;
    session s;
    int code = parse_options(&c, argc, argv, &operand, &help);
    if (code != EXIT_DONE || help) return code;
    request_options_finish(&o.request);
    if (!o.csv.variant) o.csv.variant = dtype_choices[o.request.dtype];
    para_status status = session_open_world(&s, "bench", &o.request, NULL);
    if (status == PARA_OK) status = show_limits(&s, &o);
    if (status == PARA_OK) status = measure(&s, &o);
    return session_close(&s, status);
}
