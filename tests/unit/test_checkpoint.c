/* Checkpoint folders: one file or shards. SPDX-License-Identifier: Apache-2.0 */
#include "io/checkpoint.h"

#include "io_checks.h"

static float values[8] = {1, 2, 3, 4, 5, 6, 7, 8};

/* Writes "<scratch>/<name>" with the named F32 vectors, the i-th of i + 1 elements from `values` on. */
static void write_shard(const char *name, int n, const char *const *names) {
    para_tensor t[4];
    for (int i = 0; i < n; i++) t[i] = para_tensor_make(values, PARA_F32, 1, (int64_t[]){i + 1});
    assert_ok(para_safetensors_write(temp_path(name), n, names, t, NULL));
}

static void write_text(const char *name, const char *text) {
    temp_write(name, text, strlen(text));
}

static const char *folder(const char *name) {
    const char *path = temp_path(name);
    assert_int_equal(mkdir(path, 0700), 0);
    return path;
}

static para_status open_and_close(const char *path) {
    para_checkpoint *c;
    para_status status = para_checkpoint_open(&c, path);
    para_checkpoint_close(&c);
    return status;
}

static void single(void **state) {
    (void)state;
    const char *path = folder("single");
    write_shard("single/diffusion_pytorch_model.safetensors", 2, (const char *const[]){"w", "b"});
    write_shard("single/model.safetensors", 1, (const char *const[]){"other"}); /* the other stem waits */
    write_text("single/diffusion_pytorch_model.safetensors.index.json",
               "{\"weight_map\":1}"); /* the single file is preferred */
    para_checkpoint *c;
    assert_ok(para_checkpoint_open(&c, path));
    assert_string_equal(para_checkpoint_folder(c), path);
    assert_int_equal(para_checkpoint_count(c), 2);
    assert_int_equal(para_checkpoint_bytes(c), 12);
    para_tensor t;
    const char *file, *name;
    assert_true(para_checkpoint_find(c, "b", &t, &file));
    assert_int_equal(t.dim[0], 2);
    assert_memory_equal(t.data, values, 8);
    assert_non_null(strstr(file, "single/diffusion_pytorch_model.safetensors"));
    assert_true(para_checkpoint_find(c, "w", &t, NULL));
    assert_int_equal(t.dim[0], 1);
    assert_string_equal(para_checkpoint_type(c, "w"), "F32");
    assert_null(para_checkpoint_type(c, "none"));
    assert_false(para_checkpoint_find(c, "none", &t, NULL));
    para_checkpoint_at(c, 0, &name, &t);
    assert_string_equal(name, "b");
    assert_int_equal(t.dim[0], 2);
    para_checkpoint_close(&c);
    assert_null(c);
    para_checkpoint_close(&c);
}

static void shards(void **state) {
    (void)state;
    const char *path = folder("shards");
    write_shard("shards/model-00001-of-00002.safetensors", 3, (const char *const[]){"a", "z", "unlisted"});
    write_shard("shards/model-00002-of-00002.safetensors", 2, (const char *const[]){"m", "b"});
    write_text("shards/model.safetensors.index.json",
               "{\"metadata\":{\"total_size\":24},\"weight_map\":{\"z\":\"model-00001-of-00002.safetensors\","
               "\"b\":\"model-00002-of-00002.safetensors\",\"a\":\"model-00001-of-00002.safetensors\","
               "\"m\":\"model-00002-of-00002.safetensors\"}}");
    para_checkpoint *c;
    assert_ok(para_checkpoint_open(&c, path));
    assert_int_equal(para_checkpoint_count(c), 4);
    assert_int_equal(para_checkpoint_bytes(c), 4 + 8 + 4 + 8);
    static const char *const sorted[] = {"a", "b", "m", "z"};
    for (int i = 0; i < 4; i++) {
        const char *name, *file;
        para_tensor t, found;
        para_checkpoint_at(c, i, &name, &t);
        assert_string_equal(name, sorted[i]);
        assert_true(para_checkpoint_find(c, name, &found, &file));
        assert_ptr_equal(found.data, t.data);
        assert_int_equal(t.dim[0], *name == 'z' || *name == 'b' ? 2 : 1);
        assert_non_null(strstr(file, *name == 'a' || *name == 'z' ? "00001-of" : "00002-of"));
    }
    para_tensor t;
    assert_false(para_checkpoint_find(c, "unlisted", &t, NULL));
    para_checkpoint_close(&c);
    assert_survives_alloc_failure(10, open_and_close(path));
    assert_survives_alloc_failure(6, open_and_close(temp_path("single")));
}

static void bad_folders(void **state) {
    (void)state;
    assert_fails(PARA_ERR_NOT_FOUND, "nowhere' cannot be read: No such file or directory",
                 open_and_close(temp_path("nowhere")));
    folder("empty");
    assert_fails(PARA_ERR_NOT_FOUND, "empty' holds no weights: neither 'diffusion_pytorch_model.safetensors'",
                 open_and_close(temp_path("empty")));
    write_text("empty/diffusion_pytorch_model.bin", "x");
    assert_fails(PARA_ERR_NOT_FOUND, "only as 'diffusion_pytorch_model.bin'", open_and_close(temp_path("empty")));
    write_text("empty/model.fp16.safetensors", "x");
    assert_fails(PARA_ERR_NOT_FOUND, "holds 'model.fp16.safetensors' but no", open_and_close(temp_path("empty")));
    write_text("empty/model.safetensors", "x");
    assert_fails(PARA_ERR_FORMAT, "empty/model.safetensors' is cut short", open_and_close(temp_path("empty")));
    assert_int_equal(unlink(temp_path("empty/model.safetensors")), 0);
    assert_int_equal(symlink("../../blobs/gone", temp_path("empty/model.safetensors")), 0);
    assert_fails(PARA_ERR_NOT_FOUND, "model.safetensors' does not exist", open_and_close(temp_path("empty")));
}

static void bad_indexes(void **state) {
    (void)state;
    static const struct {
        const char *index;
        para_status status;
        const char *sentence;
    } cases[] = {
        {"{", PARA_ERR_FORMAT, "index.json' is not valid JSON"},
        {"{}", PARA_ERR_FORMAT, "has no object \"weight_map\""},
        {"{\"weight_map\":[]}", PARA_ERR_FORMAT, "has no object \"weight_map\""},
        {"{\"weight_map\":{\"a\":1}}", PARA_ERR_FORMAT, "the shard of 'a' is not a string"},
        {"{\"weight_map\":{\"a\":\"\"}}", PARA_ERR_FORMAT, "not a plain file name"},
        {"{\"weight_map\":{\"a\":\"../s1.safetensors\"}}", PARA_ERR_FORMAT,
         "'../s1.safetensors', which is not a plain file name"},
        {"{\"weight_map\":{\"a\":\"x/s1.safetensors\"}}", PARA_ERR_FORMAT, "not a plain file name"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", PARA_ERR_FORMAT, "not a plain file name"},
        {"{\"weight_map\":{\"a\":\"x\\\\s1\"}}", PARA_ERR_FORMAT, "not a plain file name"},
        {"{\"weight_map\":{\"a\":\"..\"}}", PARA_ERR_FORMAT, "not a plain file name"},
        {"{\"weight_map\":{\"a\":\".\"}}", PARA_ERR_IO, "is a folder"},
        {"{\"weight_map\":{\"a\":\"s1.safetensors\",\"b\":\"s2.safetensors\"}}", PARA_ERR_NOT_FOUND,
         "bad/s2.safetensors' is missing, a shard named by '"},
        {"{\"weight_map\":{\"a\":\"s1.safetensors\",\"q\":\"s1.safetensors\"}}", PARA_ERR_NOT_FOUND,
         "tensor 'q' is not in '"},
        {"{\"weight_map\":{\"a\":\"s1.safetensors\",\"q\":\"model.safetensors.index.json\"}}", PARA_ERR_FORMAT,
         "is not a safetensors file"},
    };
    folder("bad");
    write_shard("bad/s1.safetensors", 1, (const char *const[]){"a"});
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_text("bad/model.safetensors.index.json", cases[i].index);
        assert_fails(cases[i].status, cases[i].sentence, open_and_close(temp_path("bad")));
    }
    write_text("bad/model.safetensors.index.json", "{\"weight_map\":{}}");
    assert_ok(open_and_close(temp_path("bad")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(single),
        cmocka_unit_test(shards),
        cmocka_unit_test(bad_folders),
        cmocka_unit_test(bad_indexes),
    };
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
