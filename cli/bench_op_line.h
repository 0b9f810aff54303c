/* A line for a single op that is timed. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CLI_BENCH_OP_LINE_H
#define PARA_CLI_BENCH_OP_LINE_H

#include "bench_result.h"
#include "session.h"

/* What the options say of the type. */
para_dtype bench_type(const request_options *o);
/* Times and shows an op; ceiling: FLOPs a second to compare with, or 0. rate: its FLOPs, or bytes, a second. */
para_status bench_show_op(const session *s, const bench_csv *csv, const para_bench_op *op, double ceiling, double *rate);
/* A product so large that only the machine limits it. */
para_status bench_show_ceiling(const session *s, const request_options *o, const bench_csv *csv, double *rate);

#endif
