/* Random operands on a device, their exact values on the host, and the comparison. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_OPS_CASE_H
#define PARA_TESTS_OPS_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backend/backend.h"

/* How a tensor lies in memory. The last dimension is contiguous but for ANY. */
typedef enum ops_layout {
    OPS_PLAIN,  /* contiguous */
    OPS_PADDED, /* rows further apart than they are long, and an odd offset */
    OPS_TURNED, /* outer dimensions in a random order of memory, padded */
    OPS_ANY,    /* all dimensions in a random order, some of them backwards */
} ops_layout;

typedef struct ops_tensor {
    para_tensor view; /* on the device */
    double *value;    /* [dim...] contiguous: what the elements hold, exactly */
    void *memory;     /* on the device */
    size_t bytes;     /* of it */
} ops_tensor;

/* The devices that are tested; opened once: the CPU with each of its instruction sets, or what the environment variable PARA_TEST_DEVICE
 * names ("cuda" or "cuda:1"). ops_device takes any i ≥ 0. */
int ops_device_count(void);
para_device *ops_device(int i);
int ops_setup(void **state); /* CMocka group setup: opens devices, prints the seed */
int ops_teardown(void **state);

/* Random numbers from the run's seed: [low, high], uniform in [0, 1), normal. */
int64_t ops_int(int64_t low, int64_t high);
double ops_uniform(void);
double ops_normal(void);
bool ops_chance(double p);

/* Random normal values times `spread` (BOOL: 0 or 1; I32: 0 to spread - 1), rounded to the type. */
ops_tensor ops_make(para_device *dev, para_dtype type, ops_layout layout, double spread, int rank, const int64_t *dim);
#define OPS_MAKE(dev, type, layout, spread, ...)                                                                       \
    ops_make(dev, type, layout, spread, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),                     \
             (int64_t[]){__VA_ARGS__})
/* No tensor at all: an op's "none". */
ops_tensor ops_none(void);
/* Writes t->value, rounded to the type, to the device again. */
void ops_write(para_device *dev, ops_tensor *t);
void ops_free(para_device *dev, ops_tensor *t);
int64_t ops_count(const ops_tensor *t);

/* Fails unless the device's elements equal `want` to rounding (relative L2 and each element), and what lies between them
 * is untouched. Bounds: `loose` times 1e-6 (F32) or one rounding of the output (BF16). Prints the worst at the end of the group. */
void ops_check(para_device *dev, const ops_tensor *t, const double *want, double loose, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* The device's elements, in want's order; free() it. */
double *ops_read(para_device *dev, const ops_tensor *t);
/* Fails with the last error's sentence unless status is PARA_OK; checks that the arena was given back. */
void ops_ok(para_device *dev, para_status status);
/* Fails unless the op just run took `bytes` of the arena, where the device is the CPU with its best instruction set. */
void ops_took(para_device *dev, size_t bytes);

/* The loose that a sum into y needs: cuBLASLt's kernels for Hopper round the product to y's type before they add (measured on an H200 for BF16: relative
 * L2 2.3e-3 instead of 1.7e-3, elements off by up to 9.5e-3 of the rms). */
double ops_added(const para_device *dev, para_dtype type, bool accumulate, double otherwise);

/* Rounds as the type does. */
double ops_round(para_dtype type, double x);
const char *ops_type_name(para_dtype type);

#endif
