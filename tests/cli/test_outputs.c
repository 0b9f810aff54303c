/* Outputs that cannot be written: found before the work where possible; nothing left in any case. SPDX-License-Identifier: Apache-2.0 */
#include "program.h"

#include <sys/mount.h>

#define MODEL    GOLDEN("flux-dev")
#define GENERATE "generate", MODEL, QUICK

static program p;

/* The four outputs of a run; where `bad` is i the i-th goes to `path`. */
enum { PNG, SAFETENSORS, REPORT, LATENTS, OUTPUTS };
static const char *const output_names[OUTPUTS] = {"a PNG", "float pixels", "a report", "latents"};

static void generate(const program_options *o, int bad, const char *path) {
    const char *image = output_path("x.png"), *report = output_path("x.json"), *latents = output_path("l.safetensors");
    if (bad == PNG || bad == SAFETENSORS) image = path;
    if (bad == REPORT) report = path;
    if (bad == LATENTS) latents = path;
    program_run(&p, o, GENERATE, "-o", image, "--report", report, "--save-latents", latents);
    print_message("  %s: %.*s", output_names[bad], (int)(p.length ? strcspn(p.said, "\n") + 1 : 0), p.said);
}

/* Before the model is opened: no progress. */
static void expect_early(const char *a, const char *b) {
    program_expect(&p, 1, a, b);
    assert_null(strstr(p.said, "denoise"));
    expect_nothing_left();
}

static const char *named(int kind, const char *folder) {
    static char path[600];
    snprintf(path, sizeof path, "%.500s/%s", folder,
             kind == PNG      ? "y.png"
             : kind == REPORT ? "y.json"
                              : "y.safetensors");
    return path;
}

static void folder_is_missing(void **state) {
    (void)state;
    for (int i = 0; i < OUTPUTS; i++) {
        generate(NULL, i, named(i, temp_path("nowhere")));
        expect_early("the folder", "create it first");
    }
}

static void folder_is_a_file(void **state) {
    (void)state;
    temp_write("plain", "x", 1);
    for (int i = 0; i < OUTPUTS; i++) {
        generate(NULL, i, named(i, temp_path("plain")));
        expect_early("the folder", "create it first");
    }
}

static void file_is_a_folder(void **state) {
    (void)state;
    for (int i = 0; i < OUTPUTS; i++) {
        char folder[600];
        snprintf(folder, sizeof folder, "%s", named(i, temp_folder));
        assert_int_equal(mkdir(folder, 0777), 0);
        generate(NULL, i, folder);
        expect_early(folder, "is a folder");
        assert_int_equal(rmdir(folder), 0);
    }
}

static void two_outputs_of_one_name(void **state) {
    (void)state;
    program_run(&p, NULL, GENERATE, "-o", output_path("x.safetensors"), "--save-latents", output_path("x.safetensors"));
    program_expect(&p, 2, "x.safetensors", "two outputs");
    expect_nothing_left();
}

/* For root a folder without write permission is none; a read-only mount stops root, too. */
static void folder_is_read_only(void **state) {
    (void)state;
    char folder[600];
    snprintf(folder, sizeof folder, "%s", temp_path("fixed"));
    assert_int_equal(mkdir(folder, 0555), 0);
    bool mounted = geteuid() == 0 && mount("tmpfs", folder, "tmpfs", MS_RDONLY, "size=64k") == 0;
    if (geteuid() != 0 || mounted) {
        for (int i = 0; i < OUTPUTS; i++) {
            generate(NULL, i, named(i, folder));
            expect_early(folder, "cannot be written");
        }
    } else {
        print_message("  root here may not mount: only the other cases are tried\n");
    }
    if (mounted) assert_int_equal(umount(folder), 0);
    assert_int_equal(rmdir(folder), 0);
}

/* A device that is always full, reached through a link with the right ending. */
static void device_is_full(void **state) {
    (void)state;
    for (int i = 0; i < OUTPUTS; i++) {
        char link[600];
        snprintf(link, sizeof link, "%s", named(i, temp_folder));
        assert_int_equal(symlink("/dev/full", link), 0);
        generate(NULL, i, link);
        program_expect(&p, 1, link, "No space left on device", "free space");
        expect_nothing_left();
        struct stat at;
        assert_true(lstat(link, &at) == 0 && S_ISLNK(at.st_mode));
        assert_int_equal(unlink(link), 0);
    }
}

/* Files may not grow beyond a limit: what a full disk does after some of the bytes. */
static void file_cannot_grow(void **state) {
    (void)state;
    static const program_options limit = {.file_size_limit = 700};
    for (int i = 0; i < OUTPUTS; i++) {
        generate(&limit, i,
                 output_path(i == SAFETENSORS ? "x.safetensors"
                             : i == PNG       ? "x.png"
                             : i == REPORT    ? "y.json"
                                              : "y.safetensors"));
        program_expect(&p, 1, "out/", "File too large", "choose another one");
        expect_nothing_left();
    }
    static const program_options pictures = {.file_size_limit = 3000};
    program_run(&p, &pictures, GENERATE, "--width", "64", "--height", "64", "--num-images", "3", "-o",
                output_path("x.png"));
    program_expect(&p, 1, "out/x-1.png", "File too large");
    expect_nothing_left();
}

static void filesystem_is_full(void **state) {
    (void)state;
    char folder[600];
    snprintf(folder, sizeof folder, "%s", temp_path("small"));
    assert_int_equal(mkdir(folder, 0777), 0);
    if (geteuid() != 0 || mount("tmpfs", folder, "tmpfs", 0, "size=8k") != 0) {
        print_message("  only root may mount a small tmpfs; file_cannot_grow does the same without\n");
    } else {
        program_run(&p, NULL, GENERATE, "--width", "64", "--height", "64", "-o", named(SAFETENSORS, folder));
        int left = folder_entries(folder);
        /* The first picture fits, the second does not, and the first goes again. */
        program q = p;
        program_run(&p, NULL, GENERATE, "--num-images", "9", "-o", named(PNG, folder));
        int left_of_many = folder_entries(folder);
        umount(folder);
        program_expect(&q, 1, folder, "No space left on device", "free space");
        program_expect(&p, 1, folder, "No space left on device", "free space");
        assert_int_equal(left, 0);
        assert_int_equal(left_of_many, 0);
        assert_false(strstr(p.said, "y-1.png"));
    }
    assert_int_equal(rmdir(folder), 0);
}

static void old_files_survive_a_failure(void **state) {
    (void)state;
    const char *old = output_path("x.png");
    FILE *f = fopen(old, "w");
    assert_non_null(f);
    fputs("old", f);
    fclose(f);
    static const program_options limit = {.file_size_limit = 700};
    program_run(&p, &limit, GENERATE, "-o", old);
    program_expect(&p, 1, "File too large");
    size_t n;
    char *text = slurp(old, &n);
    assert_string_equal(text, "old");
    free(text);
    assert_int_equal(unlink(old), 0);
    expect_nothing_left();
}

static void standard_output_is_full(void **state) {
    (void)state;
    static const program_options full = {.output = "/dev/full"};
    static const char *const commands[] = {"info", "plan", "--version", "--help", NULL};
    for (int i = 0; commands[i]; i++) {
        const char *model = commands[i][0] == '-' ? NULL : MODEL;
        program_run(&p, &full, commands[i], model);
        program_expect(&p, 1, "standard output cannot be written", "No space left on device");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folder_is_missing),
        cmocka_unit_test(folder_is_a_file),
        cmocka_unit_test(file_is_a_folder),
        cmocka_unit_test(two_outputs_of_one_name),
        cmocka_unit_test(folder_is_read_only),
        cmocka_unit_test(device_is_full),
        cmocka_unit_test(file_cannot_grow),
        cmocka_unit_test(filesystem_is_full),
        cmocka_unit_test(old_files_survive_a_failure),
        cmocka_unit_test(standard_output_is_full),
    };
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
