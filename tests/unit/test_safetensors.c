/* Reading and writing safetensors files. SPDX-License-Identifier: Apache-2.0 */
#include "io/safetensors.h"

#include <signal.h>
#include <sys/resource.h>

#include "io_checks.h"

/* A file image: the header's length, the header, `data` bytes that count up. Exactly allocated, so that
 * sanitizers see a step beyond it. */
static char *image(const char *header, size_t data, size_t *n) {
    uint64_t length = strlen(header);
    *n = 8 + length + data;
    char *bytes = malloc(*n);
    assert_non_null(bytes);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, length);
    for (size_t i = 0; i < data; i++) bytes[8 + length + i] = (char)i;
    return bytes;
}

static const char GOOD[] = "{\"__metadata__\":{\"format\":\"pt\"},"
                           "\"z\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
                           "\"b.x\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[24,26]},"
                           "\"empty\":{\"dtype\":\"I64\",\"shape\":[4,0],\"data_offsets\":[26,26]},"
                           "\"odd\":{\"dtype\":\"F8_E4M3\",\"shape\":[3],\"data_offsets\":[26,29]},"
                           "\"big\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[29,37]},"
                           "\"new\":{\"dtype\":\"F6_FUTURE\",\"shape\":[5],\"data_offsets\":[37,41]}}   ";

static void good_file(void **state) {
    (void)state;
    size_t n;
    char *bytes = image(GOOD, 41, &n);
    para_safetensors *f;
    assert_ok(para_safetensors_parse(&f, bytes, n, "mem"));
    assert_int_equal(para_safetensors_count(f), 6);
    static const char *const sorted[] = {"b.x", "big", "empty", "new", "odd", "z"};
    for (int i = 0; i < 6; i++) {
        assert_string_equal(para_safetensors_name(f, i), sorted[i]);
        assert_int_equal(para_safetensors_find(f, sorted[i]), i);
    }
    assert_int_equal(para_safetensors_find(f, "nothing"), -1);
    assert_int_equal(para_safetensors_find(f, "__metadata__"), -1);
    assert_string_equal(para_safetensors_path(f), "mem");
    assert_string_equal(para_safetensors_metadata(f, "format"), "pt");
    assert_null(para_safetensors_metadata(f, "other"));
    const char *data = bytes + 8 + strlen(GOOD);
    para_tensor z = para_safetensors_tensor(f, 5), x = para_safetensors_tensor(f, 0),
                odd = para_safetensors_tensor(f, 4);
    assert_int_equal(z.dtype, PARA_F32);
    assert_int_equal(z.rank, 2);
    assert_int_equal(z.dim[0], 2);
    assert_int_equal(z.dim[1], 3);
    assert_true(para_tensor_contiguous(&z));
    assert_ptr_equal(z.data, data);
    assert_int_equal(x.rank, 0);
    assert_int_equal(para_tensor_count(&x), 1);
    assert_ptr_equal(x.data, data + 24);
    assert_int_equal(odd.dtype, PARA_F8_E4M3);
    assert_ptr_equal(odd.data, data + 26);
    para_tensor empty = para_safetensors_tensor(f, 2);
    assert_int_equal(para_tensor_count(&empty), 0);
    assert_non_null(empty.data);
    assert_int_equal(para_safetensors_tensor(f, 1).dtype, PARA_DTYPE_NONE);
    assert_string_equal(para_safetensors_type(f, 1), "F64");
    assert_string_equal(para_safetensors_type(f, 3), "F6_FUTURE");
    assert_int_equal(para_safetensors_bytes(f, 3), 4);
    para_safetensors_close(&f);
    assert_null(f);
    para_safetensors_close(&f);
    free(bytes);
}

static void empty_file(void **state) {
    (void)state;
    size_t n;
    char *bytes = image("{}", 0, &n);
    para_safetensors *f;
    assert_ok(para_safetensors_parse(&f, bytes, n, "mem"));
    assert_int_equal(para_safetensors_count(f), 0);
    assert_int_equal(para_safetensors_find(f, "x"), -1);
    assert_null(para_safetensors_metadata(f, "x"));
    para_safetensors_close(&f);
    free(bytes);
}

#define T(name, dtype, shape, begin, end)                                                                              \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"

static void bad_headers(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        const char *sentence;
    } cases[] = {
        {"[]", 0, "no JSON object"},
        {"", 0, "no JSON object"},
        {" {}", 0, "no JSON object"},
        {"{", 0, "no JSON object"},
        {"{}}", 0, "the header is damaged at byte"},
        {"{\"a\":1", 0, "the header is damaged at byte"},
        {"{\"a\\u0000\":1}", 0, "the header is damaged at byte"},
        {"{" T("a", "U8", "[1]", 0, 1) "," T("a", "U8", "[1]", 0, 1) "}", 1, "duplicate"},
        {"{\"a\":1}", 0, "'a' has no dtype"},
        {"{\"a\":{\"dtype\":3,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "has no dtype"},
        {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "has no shape"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":7,\"data_offsets\":[0,1]}}", 1, "has no shape"},
        {"{" T("a", "U8", "[1.0]", 0, 1) "}", 1, "whole numbers from 0 up"},
        {"{" T("a", "U8", "[-1]", 0, 1) "}", 1, "whole numbers from 0 up"},
        {"{" T("a", "U8", "[\"1\"]", 0, 1) "}", 1, "whole numbers from 0 up"},
        {"{" T("a", "U8", "[18446744073709551616]", 0, 1) "}", 1, "the header is damaged at byte"},
        {"{" T("a", "U8", "[4294967296,4294967296]", 0, 0) "}", 0, "product overflows"},
        {"{" T("a", "U8", "[0,4294967296,4294967296]", 0, 0) "}", 0, "product overflows"},
        {"{" T("a", "F32", "[4611686018427387904]", 0, 0) "}", 0, "does not fit its byte range"},
        {"{" T("a", "F32", "[2]", 0, 4) "}", 4, "does not fit its byte range"},
        {"{" T("a", "F64", "[2]", 0, 8) "}", 8, "does not fit its byte range"},
        {"{" T("a", "U8", "[1,1,1,1,1,1,1]", 0, 1) "}", 1, "has 7 dimensions"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "has no data_offsets"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", 1, "has no data_offsets"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 1, "has no data_offsets"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1.0]}}", 1, "has no data_offsets"},
        {"{" T("a", "U8", "[1]", 1, 0) "}", 1, "ends before it begins"},
        {"{" T("a", "U8", "[1]", -1, 0) "}", 1, "ends before it begins"},
        {"{" T("a", "NEW", "[1]", 9, 0) "}", 1, "ends before it begins"},
        {"{" T("a", "U8", "[2]", 0, 2) "," T("b", "U8", "[2]", 1, 3) "}", 3, "'b' overlaps"},
        {"{" T("a", "U8", "[2]", 0, 2) "," T("b", "U8", "[2]", 0, 2) "}", 2, "overlaps"},
        {"{" T("a", "U8", "[2]", 0, 2) "," T("b", "U8", "[2]", 3, 5) "}", 5, "'b' has a gap before it"},
        {"{" T("a", "U8", "[2]", 1, 3) "}", 3, "'a' has a gap before it"},
        {"{" T("a", "U8", "[9]", 0, 9) "}", 4, "cut short: 5 bytes are missing"},
        {"{" T("a", "NEW", "[9]", 0, 9223372036854775807) "}", 4, "bytes are missing"},
        {"{" T("a", "U8", "[2]", 0, 2) "}", 5, "3 bytes that belong to no tensor"},
        {"{}", 1, "1 bytes that belong to no tensor"},
        {"{\"__metadata__\":[]}", 0, "__metadata__ is not an object of strings"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "__metadata__ is not an object of strings"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t n;
        char *bytes = image(cases[i].header, cases[i].data, &n);
        para_safetensors *f;
        assert_fails(PARA_ERR_FORMAT, cases[i].sentence, para_safetensors_parse(&f, bytes, n, "some.safetensors"));
        assert_non_null(strstr(para_last_error(), "'some.safetensors'"));
        assert_null(f);
        free(bytes);
    }
}

static void bad_lengths(void **state) {
    (void)state;
    para_safetensors *f;
    char bytes[64] = {0};
    assert_fails(PARA_ERR_FORMAT, "it has 0 bytes", para_safetensors_parse(&f, NULL, 0, "x"));
    assert_fails(PARA_ERR_FORMAT, "it has 7 bytes", para_safetensors_parse(&f, bytes, 7, "x"));
    assert_fails(PARA_ERR_FORMAT, "no JSON object", para_safetensors_parse(&f, bytes, 8, "x"));
    memcpy(bytes, &(uint64_t){57}, 8);
    assert_fails(PARA_ERR_FORMAT, "longer than the file by 1 bytes",
                 para_safetensors_parse(&f, bytes, sizeof bytes, "x"));
    memcpy(bytes, &(uint64_t){100000001}, 8);
    assert_fails(PARA_ERR_FORMAT, "its header would have 100000001 bytes",
                 para_safetensors_parse(&f, bytes, sizeof bytes, "x"));
    memcpy(bytes, &(uint64_t){UINT64_MAX}, 8);
    assert_fails(PARA_ERR_FORMAT, "its header would have", para_safetensors_parse(&f, bytes, sizeof bytes, "x"));
    static const char lfs[] = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";
    assert_fails(PARA_ERR_FORMAT, "Git LFS pointer", para_safetensors_parse(&f, lfs, sizeof lfs - 1, "x"));
}

/* Every shorter file is refused, none is read beyond its end. */
static void every_truncation(void **state) {
    (void)state;
    size_t n;
    char *bytes = image(GOOD, 41, &n);
    for (size_t shorter = 0; shorter < n; shorter++) {
        char *part = malloc(shorter ? shorter : 1);
        memcpy(part, bytes, shorter);
        para_safetensors *f;
        assert_fails(PARA_ERR_FORMAT, "cut short", para_safetensors_parse(&f, part, shorter, "x"));
        free(part);
    }
    free(bytes);
}

/* Every flipped bit of the header is refused or leaves tensors that lie within the data. */
static void every_bit(void **state) {
    (void)state;
    size_t n;
    char *bytes = image(GOOD, 41, &n);
    unsigned sum = 0;
    for (size_t bit = 0; bit < 8 * (n - 41); bit++) {
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        para_safetensors *f;
        if (para_safetensors_parse(&f, bytes, n, "x") == PARA_OK) {
            for (int64_t i = 0; i < para_safetensors_count(f); i++) {
                const unsigned char *data = para_safetensors_tensor(f, i).data;
                for (int64_t k = 0; k < para_safetensors_bytes(f, i); k++) sum += data[k];
            }
            para_safetensors_close(&f);
        }
        bytes[bit / 8] ^= (char)(1 << bit % 8);
    }
    print_message("  the bytes of what was let in add up to %u\n", sum); /* so that they are read */
    free(bytes);
}

static void files(void **state) {
    (void)state;
    para_safetensors *f;
    assert_fails(PARA_ERR_NOT_FOUND, "does not exist", para_safetensors_open(&f, temp_path("none.safetensors")));
    assert_null(f);
    assert_fails(PARA_ERR_IO, "is a folder where a file is needed", para_safetensors_open(&f, temp_folder));
    assert_int_equal(mkfifo(temp_path("pipe"), 0600), 0);
    assert_fails(PARA_ERR_IO, "a device or pipe", para_safetensors_open(&f, temp_path("pipe")));
    assert_fails(PARA_ERR_FORMAT, "it has 0 bytes", para_safetensors_open(&f, temp_write("empty", "", 0)));
    assert_fails(PARA_ERR_IO, "File name too long",
                 para_safetensors_open(&f, "01234567890123456789012345678901234567890123456789012345678901234567890123"
                                           "45678901234567890123456789"
                                           "01234567890123456789012345678901234567890123456789012345678901234567890123"
                                           "45678901234567890123456789"
                                           "0123456789012345678901234567890123456789012345678901234567890123456789"));
    size_t n;
    char *bytes = image(GOOD, 41, &n);
    const char *path = temp_write("good.safetensors", bytes, n);
    assert_ok(para_safetensors_open(&f, path));
    assert_int_equal(para_safetensors_count(f), 6);
    assert_memory_equal(para_safetensors_tensor(f, 5).data, bytes + 8 + strlen(GOOD), 24);
    assert_string_equal(para_safetensors_path(f), path);
    para_safetensors_close(&f);
    assert_fails(PARA_ERR_FORMAT, "cut short: 1 bytes are missing",
                 para_safetensors_open(&f, temp_write("cut", bytes, n - 1)));
    free(bytes);
}

static float f32_data[6] = {1, 2, 3, -4, 5.5f, 6};
static uint8_t u8_data[3] = {7, 8, 9};
static int64_t i64_data[1] = {-5};

static para_status write_three(const char *path) {
    static const char *const names[] = {"bytes", "floats", "int", "none"};
    static const char *const metadata[] = {"prompt", "a \"cat\" \xff \xe7\x8c\xab", "seed", "7", NULL};
    para_tensor t[4] = {para_tensor_make(u8_data, PARA_U8, 1, (int64_t[]){3}),
                        para_tensor_make(f32_data, PARA_F32, 2, (int64_t[]){2, 3}),
                        para_tensor_make(i64_data, PARA_I64, 0, NULL),
                        para_tensor_make(NULL, PARA_F32, 2, (int64_t[]){0, 9})};
    return para_safetensors_write(path, 4, names, t, metadata);
}

static void round_trip(void **state) {
    (void)state;
    const char *path = temp_path("round.safetensors");
    assert_ok(write_three(path));
    size_t n;
    char *bytes = slurp(path, &n);
    uint64_t header;
    memcpy(&header, bytes, 8);
    assert_int_equal(header % 8, 0);
    assert_int_equal(n, 8 + header + 8 + 24 + 3);
    free(bytes);
    para_safetensors *f;
    assert_ok(para_safetensors_open(&f, path));
    assert_int_equal(para_safetensors_count(f), 4);
    assert_memory_equal(para_safetensors_tensor(f, 0).data, u8_data, 3);
    para_tensor floats = para_safetensors_tensor(f, 1);
    assert_int_equal(floats.rank, 2);
    assert_int_equal(floats.dim[1], 3);
    assert_memory_equal(floats.data, f32_data, 24);
    assert_int_equal((uintptr_t)floats.data % 4, 0);
    para_tensor whole = para_safetensors_tensor(f, 2);
    assert_int_equal(whole.rank, 0);
    assert_int_equal((uintptr_t)whole.data % 8, 0);
    assert_memory_equal(whole.data, i64_data, 8);
    assert_string_equal(para_safetensors_metadata(f, "prompt"), "a \"cat\" \xef\xbf\xbd \xe7\x8c\xab");
    assert_string_equal(para_safetensors_metadata(f, "seed"), "7");
    para_safetensors_close(&f);
    assert_ok(para_safetensors_write(path, 0, NULL, NULL, NULL)); /* replaces the file */
    assert_ok(para_safetensors_open(&f, path));
    assert_int_equal(para_safetensors_count(f), 0);
    para_safetensors_close(&f);
}

static void mode_follows_umask(void **state) {
    (void)state;
    mode_t old = umask(027);
    assert_ok(write_three(temp_path("mode.safetensors")));
    umask(old);
    struct stat st;
    assert_int_equal(stat(temp_path("mode.safetensors"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
}

static void bad_arguments(void **state) {
    (void)state;
    para_tensor good = para_tensor_make(f32_data, PARA_F32, 2, (int64_t[]){2, 3}), t = good;
    const char *name = "t", *path = temp_path("arguments");
    t.dtype = PARA_DTYPE_NONE;
    assert_fails(PARA_ERR_ARGUMENT, "'t' has no type", para_safetensors_write(path, 1, &name, &t, NULL));
    t = good, t.data = NULL;
    assert_fails(PARA_ERR_ARGUMENT, "'t' has no type, no data", para_safetensors_write(path, 1, &name, &t, NULL));
    t = good, t.stride[0] = 4;
    assert_fails(PARA_ERR_ARGUMENT, "gaps", para_safetensors_write(path, 1, &name, &t, NULL));
    name = "__metadata__";
    assert_fails(PARA_ERR_ARGUMENT, "'__metadata__'", para_safetensors_write(path, 1, &name, &good, NULL));
    assert_fails(PARA_ERR_ARGUMENT, "two tensors or metadata keys named 'a'",
                 para_safetensors_write(path, 2, (const char *const[]){"a", "a"}, (para_tensor[]){good, good}, NULL));
    assert_fails(PARA_ERR_ARGUMENT, "two tensors or metadata keys named 'k'",
                 para_safetensors_write(path, 0, NULL, NULL, (const char *const[]){"k", "1", "k", "2", NULL}));
    assert_int_not_equal(access(path, F_OK), 0);
}

/* A failed write leaves the folder as it was, the older file included. */
static void failed_write(void **state) {
    (void)state;
    assert_fails(PARA_ERR_NOT_FOUND, "its folder does not exist", write_three(temp_path("no/such.safetensors")));
    assert_fails(PARA_ERR_IO, "Is a directory", write_three(temp_folder));
    assert_fails(PARA_ERR_IO, "No space left on device", write_three(temp_device("/dev/full")));
    const char *null = temp_device("/dev/null");
    assert_ok(write_three(null));
    struct stat st; /* still the device: nothing was renamed over it */
    assert_int_equal(stat(null, &st), 0);
    assert_true(S_ISCHR(st.st_mode));

    const char *path = temp_write("old.safetensors", "old", 3);
    int before = folder_entries(temp_folder);
    struct rlimit old, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = old;
    limit.rlim_cur = 200; /* the header passes, the data does not: a disk that fills up on the way */
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    para_status status = write_three(path);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, handler);
    assert_int_equal(status, PARA_ERR_IO);
    assert_non_null(strstr(para_last_error(), "File too large"));
    assert_int_equal(folder_entries(temp_folder), before);
    size_t n;
    char *bytes = slurp(path, &n);
    assert_string_equal(bytes, "old");
    free(bytes);
}

static para_status open_and_close(const char *path) {
    para_safetensors *f;
    para_status status = para_safetensors_open(&f, path);
    para_safetensors_close(&f);
    return status;
}

/* Lines of /proc/self/maps that name the file, plus open file descriptors. */
static int held(const char *name) {
    int n = folder_entries("/proc/self/fd");
    char line[1024];
    FILE *f = fopen("/proc/self/maps", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) n += strstr(line, name) != NULL;
    fclose(f);
    return n;
}

static void nothing_held(void **state) {
    (void)state;
    const char *path = temp_path("held.safetensors"), *cut = temp_path("held_cut.safetensors");
    int before = held("held");
    assert_ok(write_three(path));
    assert_ok(write_three(cut));
    assert_int_equal(truncate(cut, 100), 0);
    para_safetensors *f;
    assert_ok(para_safetensors_open(&f, path));
    assert_int_equal(held("held"), before + 2); /* the mapping, and the file for those who read */
    para_safetensors_close(&f);
    assert_fails(PARA_ERR_FORMAT, "cut short", para_safetensors_open(&f, cut));
    assert_fails(PARA_ERR_IO, "is a folder", para_safetensors_open(&f, temp_folder));
    assert_fails(PARA_ERR_IO, "Is a directory", write_three(temp_folder));
    assert_int_equal(held("held"), before);
}

static void alloc_failure(void **state) {
    (void)state;
    const char *path = temp_path("alloc.safetensors");
    assert_survives_alloc_failure(3, write_three(path));
    int entries = folder_entries(temp_folder);
    assert_survives_alloc_failure(3, open_and_close(path));
    assert_survives_alloc_failure(3, write_three(path));
    assert_int_equal(folder_entries(temp_folder), entries); /* no temporary file stays */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_file),     cmocka_unit_test(empty_file),       cmocka_unit_test(bad_headers),
        cmocka_unit_test(bad_lengths),   cmocka_unit_test(every_truncation), cmocka_unit_test(every_bit),
        cmocka_unit_test(files),         cmocka_unit_test(round_trip),       cmocka_unit_test(mode_follows_umask),
        cmocka_unit_test(bad_arguments), cmocka_unit_test(failed_write),     cmocka_unit_test(nothing_held),
        cmocka_unit_test(alloc_failure),
    };
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
