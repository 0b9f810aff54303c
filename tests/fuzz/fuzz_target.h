/* What every fuzzer implements; libFuzzer's interface, which standalone_driver.c calls as well. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_FUZZ_TARGET_H
#define PARA_FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>

/* Runs the parser on one input; returns 0. Anything wrong ends the process. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
