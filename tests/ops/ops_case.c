/* Random operands, exact values, comparison. SPDX-License-Identifier: Apache-2.0 */
#include "ops/ops_case.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "core/error.h"
#include "core/float.h"

enum { MOST_DEVICES = 8, ARENA = 96 << 20, FILL = 0x5a, MOST_NAMES = 128 };

static para_device *devices[MOST_DEVICES];
static int device_count;
static uint64_t state;

/* The worst of each op and type so far. */
static struct {
    char name[64];
    double error, bound, highest;
    int cases;
} worst[MOST_NAMES];
static int names;

int ops_device_count(void) {
    return device_count;
}

para_device *ops_device(int i) {
    return devices[i % device_count];
}

/* The GPU that `name` stands for: "cuda" or "cuda:1". */
static para_status open_cuda(const char *name) {
    const char *index = strchr(name, ':');
    PARA_TRY(para_cuda_open(&devices[0], index ? atoi(index + 1) : 0));
    printf("device 0: %s\n", name);
    device_count = 1;
    return para_device_reserve(devices[0], ARENA);
}

/* A CPU device with the i-th best instruction set; all but the best also do without oneDNN's BF16. */
static para_status open_cpu(int threads, int i) {
    PARA_TRY(para_cpu_open(&devices[device_count], threads));
    para_cpu *cpu = para_cpu_of(devices[device_count]);
    cpu->simd = para_simd_usable(i);
    if (i > 0) para_onednn_without_bf16(cpu->onednn);
    printf("device %d: cpu, %d threads, %s\n", device_count, threads, cpu->simd->name);
    return para_device_reserve(devices[device_count++], ARENA);
}

int ops_setup(void **unused) {
    (void)unused;
    const char *seed = getenv("PARA_SEED");
    state = seed ? strtoull(seed, NULL, 0) : 20240607;
    printf("seed %llu (set PARA_SEED to change it)\n", (unsigned long long)state);
    names = 0;
    device_count = 0;
    const char *name = getenv("PARA_TEST_DEVICE");
    if (name && strncmp(name, "cuda", 4) == 0) {
        if (open_cuda(name) == PARA_OK) return 0;
        fprintf(stderr, "PARA_TEST_DEVICE=%s: %s\n", name, para_last_error());
        return -1;
    }
    if (open_cpu(3, 0) != PARA_OK) return -1;
    for (int i = 0; para_simd_usable(i); i++)
        if (open_cpu(1, i) != PARA_OK) return -1;
    return 0;
}

int ops_teardown(void **unused) {
    (void)unused;
    for (int i = 0; i < names; i++)
        printf("%-28s %4d cases: worst relative L2 %.2e (bound %.2e), worst element %.2f of its bound\n", worst[i].name,
               worst[i].cases, worst[i].error, worst[i].bound, worst[i].highest);
    for (int i = 0; i < device_count; i++) para_device_close(&devices[i]);
    return 0;
}

/* splitmix64 */
static uint64_t next(void) {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

int64_t ops_int(int64_t low, int64_t high) {
    return low + (int64_t)(next() % (uint64_t)(high - low + 1));
}

double ops_uniform(void) {
    return (double)(next() >> 11) * 0x1p-53;
}

double ops_normal(void) {
    return sqrt(-2 * log(1 - ops_uniform())) * cos(6.283185307179586 * ops_uniform());
}

bool ops_chance(double p) {
    return ops_uniform() < p;
}

double ops_added(const para_device *dev, para_dtype type, bool accumulate, double otherwise) {
    bool twice = accumulate && strcmp(dev->ops->name, "cuda") == 0;
    return twice && type == PARA_BF16 ? 1500 : twice && type == PARA_F16 ? 190 : otherwise;
}

double ops_round(para_dtype type, double x) {
    switch (type) {
    case PARA_BF16: return para_bf16_to_f32(para_f32_to_bf16((float)x));
    case PARA_F16: return para_f16_to_f32(para_f32_to_f16((float)x));
    case PARA_F32: return (float)x;
    default: return x;
    }
}

const char *ops_type_name(para_dtype type) {
    return type == PARA_BF16 ? "bf16" : type == PARA_F16 ? "f16" : type == PARA_F8_E4M3 ? "f8" : "f32";
}

int64_t ops_count(const ops_tensor *t) {
    return para_tensor_count(&t->view);
}

/* Strides for a layout, elements of memory needed, and where the first element lies. */
static void lay_out(para_tensor *view, ops_layout layout, int64_t *elements, int64_t *first) {
    int order[PARA_MAX_DIMS], rank = view->rank,
                              movable = layout == OPS_ANY      ? rank
                                        : layout == OPS_TURNED ? rank - 1
                                                               : 0;
    for (int i = 0; i < rank; i++) order[i] = i;
    for (int i = movable - 1; i > 0; i--) {
        int j = (int)ops_int(0, i), swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
    int64_t step = 1;
    *first = layout == OPS_PLAIN ? 0 : ops_int(0, 3);
    for (int i = rank - 1; i >= 0; i--) {
        int64_t size = view->dim[order[i]] > 0 ? view->dim[order[i]] : 1;
        bool backwards = layout == OPS_ANY && ops_chance(0.3);
        view->stride[order[i]] = backwards ? -step : step;
        if (backwards) *first += step * (size - 1);
        step *= size;
        if (layout != OPS_PLAIN && i > 0) step += ops_int(0, 5);
    }
    *elements = step + *first + 4;
}

static int64_t offset_of(const para_tensor *t, int64_t index) {
    int64_t offset = 0;
    for (int i = t->rank - 1; i >= 0; i--) {
        offset += index % t->dim[i] * t->stride[i];
        index /= t->dim[i];
    }
    return offset;
}

static void put(char *to, para_dtype type, double x) {
    float f = (float)x;
    int32_t i = (int32_t)x;
    switch (type) {
    case PARA_I32: memcpy(to, &i, 4); break;
    case PARA_BOOL: *to = x != 0; break;
    default: para_floats_from_f32(to, type, &f, 1);
    }
}

static double get(const char *from, para_dtype type) {
    float f = 0;
    int32_t i;
    switch (type) {
    case PARA_I32: memcpy(&i, from, 4); return i;
    case PARA_BOOL: return *from != 0;
    default: para_floats_to_f32(&f, from, type, 1); return f;
    }
}

static void must(para_status status) {
    if (status != PARA_OK) fail_msg("%s: %s", para_status_name(status), para_last_error());
}

static para_tensor whole(const ops_tensor *t) {
    return para_tensor_make(t->memory, PARA_U8, 1, (int64_t[]){(int64_t)t->bytes});
}

/* The host's image of the device's memory, filled where no element lies. */
static char *image_of(const ops_tensor *t) {
    char *image = malloc(t->bytes + 1);
    size_t size = para_dtype_size(t->view.dtype);
    int64_t first = ((char *)t->view.data - (char *)t->memory);
    memset(image, FILL, t->bytes);
    for (int64_t i = 0; i < ops_count(t); i++) {
        char *at = image + first + offset_of(&t->view, i) * (int64_t)size;
        if (t->view.dtype == PARA_F8_E4M3) *at = (char)(int)t->value[i]; /* replaced by its value below */
        else put(at, t->view.dtype, t->value[i]);
    }
    return image;
}

ops_tensor ops_make(para_device *dev, para_dtype type, ops_layout layout, double spread, int rank, const int64_t *dim) {
    ops_tensor t = {.view = para_tensor_make(NULL, type, rank, dim)};
    int64_t elements, first, count = para_tensor_count(&t.view);
    dev->arena.peak = 0; /* of what runs next; see ops_took */
    lay_out(&t.view, layout, &elements, &first);
    t.bytes = (size_t)elements * para_dtype_size(type);
    t.value = malloc((size_t)(count + 1) * sizeof *t.value);
    must(dev->ops->alloc(dev, t.bytes, &t.memory));
    t.view.data = (char *)t.memory + first * (int64_t)para_dtype_size(type);
    for (int64_t i = 0; i < count; i++) {
        if (type == PARA_I32) t.value[i] = (double)ops_int(0, (int64_t)spread - 1);
        else if (type == PARA_BOOL) t.value[i] = ops_chance(0.7);
        else if (type == PARA_F8_E4M3)
            t.value[i] = (double)(ops_int(0, 1) * 128 + ops_int(0, 0x47)); /* a code: at most 3.75 in size */
        else t.value[i] = ops_round(type, spread * ops_normal());
    }
    char *image = image_of(&t);
    must(dev->ops->upload(dev, whole(&t), image));
    free(image);
    for (int64_t i = 0; type == PARA_F8_E4M3 && i < count; i++) t.value[i] = para_f8_e4m3_to_f32((uint8_t)t.value[i]);
    return t;
}

ops_tensor ops_none(void) {
    return (ops_tensor){0};
}

void ops_write(para_device *dev, ops_tensor *t) {
    for (int64_t i = 0; i < ops_count(t); i++) t->value[i] = ops_round(t->view.dtype, t->value[i]);
    char *image = image_of(t);
    must(dev->ops->upload(dev, whole(t), image));
    free(image);
}

void ops_free(para_device *dev, ops_tensor *t) {
    dev->ops->free(dev, t->memory);
    free(t->value);
    *t = ops_none();
}

static char *download(para_device *dev, const ops_tensor *t) {
    char *image = malloc(t->bytes + 1);
    para_tensor all = whole(t);
    must(dev->ops->download(dev, image, &all));
    return image;
}

static void read_image(const ops_tensor *t, const char *image, double *out) {
    size_t size = para_dtype_size(t->view.dtype);
    int64_t first = ((char *)t->view.data - (char *)t->memory);
    for (int64_t i = 0; i < ops_count(t); i++)
        out[i] = get(image + first + offset_of(&t->view, i) * (int64_t)size, t->view.dtype);
}

double *ops_read(para_device *dev, const ops_tensor *t) {
    char *image = download(dev, t);
    double *out = malloc((size_t)(ops_count(t) + 1) * sizeof *out);
    read_image(t, image, out);
    free(image);
    return out;
}

static void check_gaps(const ops_tensor *t, const char *image, const char *name) {
    size_t size = para_dtype_size(t->view.dtype);
    int64_t first = ((char *)t->view.data - (char *)t->memory);
    char *taken = calloc(t->bytes + 1, 1);
    for (int64_t i = 0; i < ops_count(t); i++) memset(taken + first + offset_of(&t->view, i) * (int64_t)size, 1, size);
    for (size_t i = 0; i < t->bytes; i++)
        if (!taken[i] && image[i] != FILL)
            fail_msg("%s wrote outside its result, at byte %zu of %zu", name, i, t->bytes);
    free(taken);
}

static void note(const char *name, double error, double bound, double highest) {
    int i = 0;
    while (i < names && strcmp(worst[i].name, name) != 0) i++;
    if (i == MOST_NAMES) return;
    if (i == names) {
        memset(&worst[names], 0, sizeof worst[names]);
        snprintf(worst[names++].name, sizeof worst[0].name, "%s", name);
    }
    worst[i].cases++;
    if (error > worst[i].error) worst[i].error = error;
    if (bound > worst[i].bound) worst[i].bound = bound;
    if (highest > worst[i].highest) worst[i].highest = highest;
}

void ops_check(para_device *dev, const ops_tensor *t, const double *want, double loose, const char *format, ...) {
    char name[64];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    snprintf(name + strlen(name), sizeof name - strlen(name), " %s", ops_type_name(t->view.dtype));
    char *image = download(dev, t);
    int64_t count = ops_count(t);
    double *got = malloc((size_t)(count + 1) * sizeof *got), error = 0, size = 0, highest = 0;
    read_image(t, image, got);
    check_gaps(t, image, name);
    for (int64_t i = 0; i < count; i++)
        if (isfinite(want[i])) size += want[i] * want[i];
    double rms = count ? sqrt(size / (double)count) : 0;
    double rounding = t->view.dtype == PARA_BF16 ? 0x1p-8 : t->view.dtype == PARA_F16 ? 0x1p-11 : 0;
    double exact = 1e-6 * loose;
    double bound =
        exact + rounding * fmin(1, 0.5 + 5 / sqrt((double)count)); /* of many elements, few are at their most */
    for (int64_t i = 0; i < count; i++) {
        if (!isfinite(want[i])) {
            if (!(got[i] == want[i] || (isnan(got[i]) && isnan(want[i]))))
                fail_msg("%s: element %lld is %g, not %g", name, (long long)i, got[i], want[i]);
            continue;
        }
        double off = fabs(got[i] - want[i]),
               allowed = (exact + rounding) * 1.01 * fabs(want[i]) + 8 * exact * rms + 1e-37;
        error += off * off;
        if (!(off <= allowed))
            fail_msg("%s: element %lld of %lld is %.9g, not %.9g (rms %.3g)", name, (long long)i, (long long)count,
                     got[i], want[i], rms);
        if (off / allowed > highest) highest = off / allowed;
    }
    double relative = size > 0 ? sqrt(error / size) : sqrt(error);
    note(name, relative, bound, highest);
    if (!(relative <= bound)) fail_msg("%s: relative L2 error %.3g exceeds %.3g", name, relative, bound);
    free(got);
    free(image);
}

void ops_ok(para_device *dev, para_status status) {
    must(status);
    assert_int_equal(dev->arena.used, 0);
}

void ops_took(para_device *dev, size_t bytes) {
    if (strcmp(dev->ops->name, "cpu") == 0 && para_cpu_of(dev)->simd == para_simd_select())
        assert_int_equal(dev->arena.peak, (bytes + PARA_ARENA_ALIGN - 1) / PARA_ARENA_ALIGN * PARA_ARENA_ALIGN);
}
