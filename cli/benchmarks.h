/* The benchmarks of para bench. Each reads the words after its name and returns the exit status. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CLI_BENCHMARKS_H
#define PARA_CLI_BENCHMARKS_H

int bench_cache(int argc, char **argv);
int bench_attention(int argc, char **argv);
int bench_linear(int argc, char **argv);
int bench_machine(int argc, char **argv);
int bench_pipeline(int argc, char **argv);
int bench_transformer(int argc, char **argv);

#endif
