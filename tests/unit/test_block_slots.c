/* Blocks that take turns on a device. SPDX-License-Identifier: Apache-2.0 */
#include "backend/block_slots.h"

#include "backend/weights.h"
#include "copies_device.h"
#include "io_checks.h"

enum { BLOCKS = 7 };

/* Its own bytes lie in the slot, all of them, and nothing is copied there while it is used. */
static void use(copies_device *d, para_block_slots *s, int block, size_t bytes) {
    assert_ok(para_block_slots_enter(s, block));
    const char *data = para_block_slots_device(s, block);
    for (size_t i = 0; i < bytes; i++) assert_int_equal(data[i], block + 1);
    assert_ok(para_block_slots_leave(s, block));
    assert_int_equal(d->misuses, 0);
}

static void fill(para_block_slots *s, const size_t *bytes) {
    for (int i = 0; i < BLOCKS; i++) memset(para_host_blocks_at(para_block_slots_host(s), i), i + 1, bytes[i]);
}

static const size_t sizes[BLOCKS] = {100, 300, 300, 10, 300, 1, 299};

static void every_order(void **state) {
    (void)state;
    for (int slots = 2; slots <= BLOCKS + 1; slots++) {
        copies_device d;
        para_block_slots *s;
        copies_open(&d);
        assert_ok(para_block_slots_open(&s, &d.dev, BLOCKS, sizes, slots, NULL));
        fill(s, sizes);
        for (int round = 0; round < 3; round++) /* all, in their order: once each */
            for (int i = 0; i < BLOCKS; i++) use(&d, s, i, sizes[i]);
        int alone = slots < BLOCKS ? (2 * slots > BLOCKS ? 2 * slots - BLOCKS : 0) : BLOCKS; /* those that share their slot with no other stay */
        assert_in_range(d.begun, 3 * (BLOCKS - alone) + alone, 3 * (BLOCKS - alone) + alone + slots);
        for (int round = 0; round < 4; round++) use(&d, s, 0, sizes[0]); /* as where a cache hits */
        for (int i = 0; i < BLOCKS; i += 1 + i % 3) use(&d, s, i, sizes[i]);
        for (int i = BLOCKS - 1; i >= 0; i--) use(&d, s, i, sizes[i]);
        for (int i = 0; i < 200; i++) use(&d, s, (i * 5 + i / 9) % BLOCKS, sizes[(i * 5 + i / 9) % BLOCKS]);
        para_block_slots_close(&s);
        assert_null(s);
        assert_int_equal(d.blocks + d.pinned, 0);
    }
}

/* Blocks without bytes are none of its business, and those with come around all the same, sent for as early. */
static void some_take_no_turns(void **state) {
    (void)state;
    copies_device d;
    para_block_slots *s;
    copies_open(&d);
    const size_t some[BLOCKS] = {0, 50, 0, 60, 0, 70, 80};
    assert_ok(para_block_slots_open(&s, &d.dev, BLOCKS, some, 2, NULL));
    for (int i = 0; i < BLOCKS; i++) if (some[i]) memset(para_host_blocks_at(para_block_slots_host(s), i), i + 1, some[i]);
    for (int round = 0; round < 3; round++) {
        int before = d.begun;
        for (int i = 0; i < BLOCKS; i++) use(&d, s, i, some[i]);
        assert_int_equal(d.begun - before, round ? 4 : 6); /* the next round's first two are on their way at the end */
    }
    para_block_slots_close(&s);
    assert_int_equal(d.blocks + d.pinned, 0);
}

/* While a block is in use, the next slots - 1 are on their way. */
static void sent_for_early(void **state) {
    (void)state;
    copies_device d;
    para_block_slots *s;
    copies_open(&d);
    assert_ok(para_block_slots_open(&s, &d.dev, BLOCKS, sizes, 3, NULL));
    fill(s, sizes);
    assert_ok(para_block_slots_enter(s, 0));
    assert_int_equal(d.begun, 3);
    assert_ok(para_block_slots_leave(s, 0));
    assert_int_equal(d.begun, 4);
    para_block_slots_close(&s);
}

static void failures(void **state) {
    (void)state;
    for (int i = 1; i <= BLOCKS; i++) {
        copies_device d;
        para_block_slots *s;
        copies_open(&d);
        d.fail_pin_at = i;
        assert_fails(PARA_ERR_MEMORY, "ulimit -l", para_block_slots_open(&s, &d.dev, BLOCKS, sizes, 2, NULL));
        assert_null(s);
        assert_int_equal(d.blocks + d.pinned, 0);
        copies_open(&d);
        assert_ok(para_block_slots_open(&s, &d.dev, BLOCKS, sizes, 2, NULL));
        fill(s, sizes);
        d.fail_begin_at = i;
        para_status status = PARA_OK;
        for (int block = 0; block < BLOCKS && status == PARA_OK; block++) {
            status = para_block_slots_enter(s, block);
            if (status == PARA_OK) status = para_block_slots_leave(s, block);
        }
        assert_int_equal(status, PARA_ERR_DEVICE);
        for (int slot = 0; slot < PARA_COPY_SLOTS; slot++) d.in_use[slot] = false;
        for (int block = 0; block < BLOCKS; block++) use(&d, s, block, sizes[block]); /* and the next request works */
        para_block_slots_close(&s);
    }
}

/* Weights of blocks: matrices take turns, vectors and what belongs to no block stay. */
static void weights_of_blocks(void **state) {
    (void)state;
    static const char *const names[] = {"a.weight", "a.bias", "b0.weight", "b0.bias", "b1.weight", "b1.bias", "b2.weight", "b2.bias"};
    enum { N = 16, K = 24, LAYERS = 4 };
    static float values[LAYERS][N * K];
    para_tensor t[2 * LAYERS];
    for (int i = 0; i < LAYERS; i++) {
        for (int k = 0; k < N * K; k++) values[i][k] = (float)(1000 * i + k);
        t[2 * i] = para_tensor_make(values[i], PARA_F32, 2, (int64_t[]){N, K});
        t[2 * i + 1] = para_tensor_make(values[i], PARA_F32, 1, (int64_t[]){N});
    }
    mkdir(temp_path("blocks"), 0700);
    assert_ok(para_safetensors_write(temp_path("blocks/model.safetensors"), 2 * LAYERS, names, t, NULL));
    copies_device d;
    para_checkpoint *c;
    para_weights *w;
    para_linear layer[LAYERS];
    para_tensor again; /* of layer 2, which does not take turns itself */
    copies_open(&d);
    assert_ok(para_checkpoint_open(&c, temp_path("blocks")));
    assert_ok(para_weights_open(&w));
    para_weights_linear(w, &layer[0], N, K, true, "a");
    for (int i = 0; i < 3; i++) {
        para_weights_block(w, i);
        para_weights_linear(w, &layer[1 + i], N, K, true, "b%d", i);
        if (i == 1) para_weights_stays(w, &layer[2]);
        if (i == 1) para_weights_matrix(w, &again, N, K, "b%d.weight", i);
    }
    para_weights_block(w, PARA_NO_BLOCK);
    assert_int_equal(para_weights_blocks(w), 3);
    for (int slots = 2; slots >= 0; slots -= 2) {
        para_weights_offload(w, 0, slots);
        assert_ok(para_weights_load(w, &d.dev, c, PARA_F32));
        assert_int_equal(para_weights_offloaded(w), slots > 0);
        int64_t matrix = N * K * 4, vectors = 4 * 256;
        assert_int_equal(para_weights_device_bytes(w), vectors + matrix * (slots ? 2 + slots : 5));
        assert_int_equal(para_weights_pinned_bytes(w), slots ? 3 * matrix : 0);
        if (slots) assert_ptr_equal(layer[1].weight.data, layer[3].weight.data);
        for (int round = 0; round < 2; round++)
            for (int i = 0; i < 3; i++) {
                assert_ok(para_weights_enter(w, i));
                assert_memory_equal(i == 1 ? again.data : layer[1 + i].weight.data, values[1 + i], (size_t)matrix);
                assert_memory_equal(layer[2].weight.data, values[2], (size_t)matrix);
                for (int k = 0; k < LAYERS; k++) assert_memory_equal(layer[k].bias.data, values[k], N * 4);
                assert_memory_equal(layer[0].weight.data, values[0], (size_t)matrix);
                assert_ok(para_weights_leave(w, i));
            }
    }
    para_weights_unload(w);
    assert_int_equal(d.blocks + d.pinned, 0);
    para_weights_offload(w, 1, 2); /* one of them stays */
    assert_ok(para_weights_load(w, &d.dev, c, PARA_F32));
    assert_int_equal(para_weights_pinned_bytes(w), 2 * N * K * 4);
    assert_int_equal(para_weights_device_bytes(w), 4 * 256 + 5 * N * K * 4);
    for (int i = 0; i < 3; i++) {
        assert_ok(para_weights_enter(w, i));
        assert_memory_equal(layer[1 + i].weight.data, values[1 + i], N * K * 4);
        assert_ok(para_weights_leave(w, i));
    }
    para_weights_close(&w);
    para_checkpoint_close(&c);
    assert_int_equal(d.blocks + d.pinned, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_order),
        cmocka_unit_test(some_take_no_turns),
        cmocka_unit_test(sent_for_early),
        cmocka_unit_test(failures),
        cmocka_unit_test(weights_of_blocks),
    };
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
