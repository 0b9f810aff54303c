/* Weights from files through a few buffers. SPDX-License-Identifier: Apache-2.0 */
#include "backend/weights.h"

#include <unistd.h>

#include "copies_device.h"
#include "core/float.h"
#include "io_checks.h"

enum {
    LARGE = 21 << 20,   /* elements of BF16: several pieces, the last one short */
    VECTOR = 3 << 20,   /* elements, more than one piece of F32 each */
    SMALL = 40,         /* more small tensors than there are buffers */
};

static uint16_t *large, *f16;
static uint8_t *f8;

static int make_checkpoint(void **state) {
    if (temp_folder_setup(state) != 0) return -1;
    large = malloc(2 * (size_t)LARGE);
    f16 = malloc(2 * (size_t)VECTOR);
    f8 = malloc(VECTOR);
    for (int i = 0; i < LARGE; i++) large[i] = (uint16_t)((unsigned)i * 2654435761u >> 15);
    for (int i = 0; i < VECTOR; i++) f16[i] = (uint16_t)((i * 7) % 0x7c00), f8[i] = (uint8_t)((i * 5) % 0x7f);
    char *name[SMALL + 4] = {"large", "b16", "f16", "f8"}, text[SMALL][16];
    para_tensor t[SMALL + 4] = {para_tensor_make(large, PARA_BF16, 2, (int64_t[]){3, LARGE / 3}),
                                para_tensor_make(large, PARA_BF16, 1, (int64_t[]){VECTOR}),
                                para_tensor_make(f16, PARA_F16, 1, (int64_t[]){VECTOR}),
                                para_tensor_make(f8, PARA_F8_E4M3, 1, (int64_t[]){VECTOR})};
    for (int i = 0; i < SMALL; i++) {
        snprintf(text[i], sizeof text[i], "s%d", i);
        name[4 + i] = text[i];
        t[4 + i] = para_tensor_make(large + 100 * i, PARA_BF16, 2, (int64_t[]){1, 7 + i});
    }
    mkdir(temp_path("ckpt"), 0700);
    return para_safetensors_write(temp_path("ckpt/model.safetensors"), SMALL + 4, (const char *const *)name, t, NULL);
}

typedef struct model {
    para_tensor large, b16, f16, f8, small[SMALL];
} model;

static void want_all(para_weights *w, model *m) {
    for (int i = SMALL - 1; i >= 0; i--) para_weights_matrix(w, &m->small[i], 1, 7 + i, "s%d", i);
    para_weights_vector(w, &m->b16, VECTOR, "b16");
    para_weights_matrix(w, &m->large, 3, LARGE / 3, "large");
    para_weights_vector(w, &m->f16, VECTOR, "f16");
    para_weights_vector(w, &m->f8, VECTOR, "f8");
}

static void check_all(const model *m) {
    float *wanted = malloc(sizeof(float) * (size_t)VECTOR);
    assert_memory_equal(m->large.data, large, 2 * (size_t)LARGE);
    para_floats_to_f32(wanted, large, PARA_BF16, VECTOR);
    assert_memory_equal(m->b16.data, wanted, sizeof(float) * (size_t)VECTOR);
    para_floats_to_f32(wanted, f16, PARA_F16, VECTOR);
    assert_memory_equal(m->f16.data, wanted, sizeof(float) * (size_t)VECTOR);
    para_floats_to_f32(wanted, f8, PARA_F8_E4M3, VECTOR);
    assert_memory_equal(m->f8.data, wanted, sizeof(float) * (size_t)VECTOR);
    for (int i = 0; i < SMALL; i++) assert_memory_equal(m->small[i].data, large + 100 * i, 2 * (7 + (size_t)i));
    free(wanted);
}

static void add_bytes(void *user, int64_t bytes) {
    *(int64_t *)user += bytes;
}

static para_status load(copies_device *d, const char *folder, model *m, int64_t *read) {
    para_checkpoint *c = NULL;
    para_weights *w = NULL;
    PARA_TRY(para_checkpoint_open(&c, folder));
    para_status status = para_weights_open(&w);
    if (status == PARA_OK) {
        want_all(w, m);
        d->dev.on_load = add_bytes, d->dev.load_user = read;
        status = para_weights_load(w, &d->dev, c, PARA_F32);
    }
    if (status == PARA_OK) {
        assert_int_equal(*read, para_weights_bytes(w));
        check_all(m);
    }
    para_weights_close(&w);
    para_checkpoint_close(&c);
    assert_int_equal(d->blocks, 0);
    assert_int_equal(d->pinned, 0);
    return status;
}

static void all_pieces(void **state) {
    (void)state;
    copies_device d;
    model m;
    int64_t read = 0;
    copies_open(&d);
    assert_ok(load(&d, temp_path("ckpt"), &m, &read));
    assert_true(d.begun > SMALL + 8);
    assert_int_equal(d.pins, 12);
    for (int i = 1; i < d.begun; i += 9) { /* wherever a copy fails, all ends well */
        copies_open(&d);
        d.fail_begin_at = i;
        read = 0;
        assert_fails(PARA_ERR_DEVICE, "copy failed", load(&d, temp_path("ckpt"), &m, &read));
    }
}

static void pinning_and_cancelling(void **state) {
    (void)state;
    model m;
    for (int i = 1; i <= 12; i += 5) {
        copies_device d;
        int64_t read = 0;
        copies_open(&d);
        d.fail_pin_at = i;
        assert_fails(PARA_ERR_MEMORY, "no pinned memory", load(&d, temp_path("ckpt"), &m, &read));
        copies_open(&d);
        d.cancel_at = i;
        assert_fails(PARA_ERR_CANCELLED, "cancelled", load(&d, temp_path("ckpt"), &m, &read));
    }
}

/* The header was read before somebody cut the file. */
static void a_file_that_shrinks(void **state) {
    (void)state;
    copies_device d;
    para_checkpoint *c = NULL;
    para_weights *w = NULL;
    model m;
    copies_open(&d);
    mkdir(temp_path("cut"), 0700);
    assert_int_equal(link(temp_path("ckpt/model.safetensors"), temp_path("cut/model.safetensors")), 0);
    assert_ok(para_checkpoint_open(&c, temp_path("cut")));
    assert_ok(para_weights_open(&w));
    want_all(w, &m);
    assert_int_equal(truncate(temp_path("cut/model.safetensors"), 30 << 20), 0);
    assert_fails(PARA_ERR_IO, "model.safetensors' became shorter while its tensor '", para_weights_load(w, &d.dev, c, PARA_F32));
    para_weights_close(&w);
    para_checkpoint_close(&c);
    assert_int_equal(d.blocks + d.pinned, 0);
}

static int end(void **state) {
    free(large);
    free(f16);
    free(f8);
    return temp_folder_teardown(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_pieces),
        cmocka_unit_test(pinning_and_cancelling),
        cmocka_unit_test(a_file_that_shrinks), /* the last one: it cuts the file of all */
    };
    return cmocka_run_group_tests(tests, make_checkpoint, end);
}
