/* JSON configs. SPDX-License-Identifier: Apache-2.0 */
#include "io/config.h"

#include <fcntl.h>

#include "io_checks.h"

static para_status parse(para_config *c, const char *text) {
    return para_config_parse(c, text, strlen(text), "config.json");
}

static void values(void **state) {
    (void)state;
    para_config c;
    assert_ok(parse(&c, "{\"i\": -3, \"real\": 2.5, \"w\": 4.0, \"t\": true, \"f\": false, \"s\": "
                        "\"gelu-\\u00e9\", \"null\": null,"
                        " \"axes\": [16, 56, 56], \"none\": []}"));
    int64_t i;
    double d;
    bool b;
    const char *s;
    assert_ok(para_config_int(&c, "i", 7, &i));
    assert_int_equal(i, -3);
    assert_ok(para_config_int(&c, "w", 7, &i));
    assert_int_equal(i, 4);
    assert_ok(para_config_int(&c, "absent", 7, &i));
    assert_int_equal(i, 7);
    assert_ok(para_config_int(&c, "null", 8, &i));
    assert_int_equal(i, 8);
    assert_ok(para_config_number(&c, "i", 0, &d));
    assert_true(d == -3);
    assert_ok(para_config_number(&c, "real", 0, &d));
    assert_true(d == 2.5);
    assert_ok(para_config_number(&c, "null", 0.25, &d));
    assert_true(d == 0.25);
    assert_ok(para_config_bool(&c, "t", false, &b));
    assert_true(b);
    assert_ok(para_config_bool(&c, "f", true, &b));
    assert_false(b);
    assert_ok(para_config_bool(&c, "absent", true, &b));
    assert_true(b);
    assert_ok(para_config_string(&c, "s", NULL, &s));
    assert_string_equal(s, "gelu-\xc3\xa9");
    assert_ok(para_config_string(&c, "null", "x", &s));
    assert_string_equal(s, "x");
    int64_t axes[3] = {1, 2, 3};
    int n = 3;
    assert_ok(para_config_ints(&c, "axes", axes, 3, &n));
    assert_int_equal(n, 3);
    assert_int_equal(axes[0], 16);
    assert_int_equal(axes[2], 56);
    n = 2, axes[0] = 5;
    assert_ok(para_config_ints(&c, "absent", axes, 3, &n));
    assert_int_equal(n, 2);
    assert_int_equal(axes[0], 5);
    assert_ok(para_config_ints(&c, "none", axes, 3, &n));
    assert_int_equal(n, 0);
    assert_true(para_config_has(&c, "f"));
    assert_false(para_config_has(&c, "null"));
    assert_false(para_config_has(&c, "absent"));
    assert_string_equal(c.path, "config.json");
    para_config_close(&c);
    para_config_close(&c);
}

static void wrong_types(void **state) {
    (void)state;
    para_config c;
    assert_ok(parse(&c, "{\"i\": 3, \"r\": 2.5, \"s\": \"3\", \"b\": true, \"a\": [1, \"2\"], \"h\": [1, "
                        "1.5], \"long\": [1, 2, 3, 4]}"));
    int64_t i, list[3];
    int n;
    double d;
    bool b;
    const char *s;
    assert_fails(PARA_ERR_CONFIG, "'config.json': \"s\" must be a whole number", para_config_int(&c, "s", 0, &i));
    assert_fails(PARA_ERR_CONFIG, "\"r\" must be a whole number", para_config_int(&c, "r", 0, &i));
    assert_fails(PARA_ERR_CONFIG, "\"b\" must be a whole number", para_config_int(&c, "b", 0, &i));
    assert_fails(PARA_ERR_CONFIG, "\"s\" must be a number", para_config_number(&c, "s", 0, &d));
    assert_fails(PARA_ERR_CONFIG, "\"i\" must be true or false", para_config_bool(&c, "i", 0, &b));
    assert_fails(PARA_ERR_CONFIG, "\"i\" must be a string", para_config_string(&c, "i", 0, &s));
    assert_fails(PARA_ERR_CONFIG, "\"i\" must be an array of whole numbers", para_config_ints(&c, "i", list, 3, &n));
    assert_fails(PARA_ERR_CONFIG, "\"a\" must be an array of whole numbers", para_config_ints(&c, "a", list, 3, &n));
    assert_fails(PARA_ERR_CONFIG, "\"h\" must be an array of whole numbers", para_config_ints(&c, "h", list, 3, &n));
    assert_fails(PARA_ERR_CONFIG, "\"long\" has 4 entries; supported are up to 3",
                 para_config_ints(&c, "long", list, 3, &n));
    para_config_close(&c);
}

static void ranges(void **state) {
    (void)state;
    para_config c;
    assert_ok(parse(&c, "{\"n\": 10}"));
    int64_t i;
    assert_ok(para_config_int_in(&c, "n", 1, 10, 20, &i));
    assert_int_equal(i, 10);
    assert_ok(para_config_int_in(&c, "n", 1, 0, 10, &i));
    assert_fails(PARA_ERR_CONFIG, "\"n\" is 10; supported are 11 to 20", para_config_int_in(&c, "n", 1, 11, 20, &i));
    assert_fails(PARA_ERR_CONFIG, "\"n\" is 10; supported are 0 to 9", para_config_int_in(&c, "n", 1, 0, 9, &i));
    assert_fails(PARA_ERR_CONFIG, "\"m\" is 0; supported are 1 to 9", para_config_int_in(&c, "m", 0, 1, 9, &i));
    para_config_close(&c);
}

static void syntax(void **state) {
    (void)state;
    para_config c;
    assert_fails(PARA_ERR_FORMAT, "'config.json' is not valid JSON: line 2, column 7",
                 parse(&c, "{\"a\": 1,\n \"b\": x}"));
    assert_null(c.root);
    assert_fails(PARA_ERR_FORMAT, "line 1, column 0", parse(&c, ""));
    assert_fails(PARA_ERR_FORMAT, "holds a JSON array", parse(&c, "[1]"));
    assert_fails(PARA_ERR_FORMAT, "is not valid JSON", parse(&c, "{\"a\": 1e999}"));
    assert_fails(PARA_ERR_FORMAT, "is not valid JSON", parse(&c, "{} x"));
    assert_fails(PARA_ERR_FORMAT, "is not valid JSON", parse(&c, "{\"a\": \"\xff\"}"));
    char deep[5000];
    memset(deep, '[', sizeof deep);
    assert_fails(PARA_ERR_FORMAT, "maximum parsing depth", para_config_parse(&c, deep, sizeof deep, "x"));
    para_config_close(&c);
}

/* transformers writes "no limit" as 1e30, in digits; the other whole numbers stay whole. */
static void huge_number(void **state) {
    (void)state;
    para_config c;
    assert_ok(
        parse(&c, "{\"model_max_length\": 1000000000000000019884624838656, \"n\": 77, \"edge\": 9007199254740994}"));
    int64_t i;
    double d;
    assert_ok(para_config_number(&c, "model_max_length", 0, &d));
    assert_true(d == 1e30);
    assert_fails(PARA_ERR_CONFIG, "\"model_max_length\" must be a whole number",
                 para_config_int(&c, "model_max_length", 0, &i));
    assert_fails(PARA_ERR_CONFIG, "\"edge\" must be a whole number", para_config_int(&c, "edge", 0, &i));
    assert_ok(para_config_int(&c, "n", 0, &i));
    assert_int_equal(i, 77);
    para_config_close(&c);
}

static para_status read_and_close(const char *path) {
    para_config c;
    para_status status = para_config_read(&c, path);
    para_config_close(&c);
    return status;
}

static void files(void **state) {
    (void)state;
    assert_fails(PARA_ERR_NOT_FOUND, "none.json' does not exist", read_and_close(temp_path("none.json")));
    assert_fails(PARA_ERR_IO, "is a folder", read_and_close(temp_folder));
    assert_fails(PARA_ERR_FORMAT, "is not valid JSON", read_and_close(temp_write("empty.json", "", 0)));
    const char *path = temp_write("good.json", "{\"a\": 5}", 8);
    para_config c;
    assert_ok(para_config_read(&c, path));
    assert_string_equal(c.path, path);
    int64_t i;
    assert_ok(para_config_int(&c, "a", 0, &i));
    assert_int_equal(i, 5);
    para_config_close(&c);
    const char *large = temp_path("large.json");
    assert_int_equal(close(creat(large, 0600)), 0);
    assert_int_equal(truncate(large, (256 << 20) + 1), 0); /* a hole: no disk space */
    assert_fails(PARA_ERR_FORMAT, "more than the 268435456", read_and_close(large));
    assert_survives_alloc_failure(2, read_and_close(path));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values), cmocka_unit_test(wrong_types), cmocka_unit_test(ranges),
        cmocka_unit_test(syntax), cmocka_unit_test(huge_number), cmocka_unit_test(files),
    };
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
