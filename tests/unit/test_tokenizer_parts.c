/* The unigram model, the trie under it, byte pairs and added tokens, each alone. SPDX-License-Identifier: Apache-2.0 */
#include "text/added_tokens.h"
#include "text/byte_pairs.h"
#include "text/unigram.h"

#include "io_checks.h"

static para_unigram_piece piece(const char *text, double score) {
    return (para_unigram_piece){text, strlen(text), score};
}

/* Encodes and compares with the ids, ended by -1. */
static void assert_pieces(const para_unigram *u, const char *word, const int *wanted) {
    para_unigram_work work = {0};
    para_ids ids = {0};
    assert_ok(para_unigram_encode(u, word, strlen(word), &work, &ids));
    size_t n = 0;
    while (n < ids.n && wanted[n] == ids.data[n]) n++;
    if (n < ids.n || wanted[n] != -1) fail_msg("\"%s\": piece %zu is not %d", word, n, wanted[n]);
    para_free(work.nodes);
    para_free(ids.data);
}
#define PIECES(u, word, ...) assert_pieces(u, word, (const int[]){__VA_ARGS__, -1})

static void best_path_wins(void **state) {
    (void)state;
    para_unigram_piece pieces[] = {piece("<unk>", 0), piece("a", 0),  piece("b", 0),   piece("c", 0),    piece("d", 0),
                                   piece("cd", 1),    piece("ab", 2), piece("abc", 5), piece("abcd", 10)};
    para_unigram u;
    assert_ok(para_unigram_open(&u, pieces, 9, 0));
    PIECES(&u, "abcd", 8);
    PIECES(&u, "abcc", 7, 3);
    PIECES(&u, "xabcdaabaabcbbd", 0, 8, 1, 6, 1, 7, 2, 2, 4);
    PIECES(&u, "xyz\xE4\xBB\x93", 0);     /* a run of unknowns is one */
    PIECES(&u, "axbyy<unk>", 1, 0, 2, 0); /* the piece that names the unknown joins them */
    PIECES(&u, "", -1);
    para_unigram_close(&u);
}

static void ties_doubles_and_covered_unknowns(void **state) {
    (void)state;
    para_unigram_piece ties[] = {piece("?", 0), piece("a", -1), piece("aa", -2), piece("aaa", -3)};
    para_unigram u;
    assert_ok(para_unigram_open(&u, ties, 4, 0));
    PIECES(&u, "aaa", 3);     /* all are worth -3; the longest reaches the end first */
    PIECES(&u, "aaaa", 1, 3); /* from the second place on, likewise */
    para_unigram_close(&u);
    para_unigram_piece doubles[] = {piece("?", 0), piece("a", -1), piece("a", -9)};
    assert_ok(para_unigram_open(&u, doubles, 3, 0));
    PIECES(&u, "a", 2);
    para_unigram_close(&u);
    /* Two unknowns score 2 × (100 - 10), more than the piece xy with 101; then xy is found as their text. */
    para_unigram_piece high[] = {piece("?", 100), piece("a", 100), piece("xy", 101)};
    assert_ok(para_unigram_open(&u, high, 3, 0));
    PIECES(&u, "xy", 2);
    PIECES(&u, "xyz", 0);
    PIECES(&u, "axya", 1, 2, 1);
    para_unigram_close(&u);
}

static void trie_finds_what_was_put_in(void **state) {
    (void)state;
    enum { COUNT = 3000 };
    static char texts[COUNT][8];
    static para_trie_entry entries[COUNT];
    uint32_t random = 1;
    for (int i = 0; i < COUNT; i++) {
        size_t n = 0;
        do {
            random = random * 1664525 + 1013904223;
            texts[i][n++] = (char)(random >> 24 & 0xC3); /* few values, so that prefixes are shared, 0 among them */
        } while (n < sizeof texts[i] && random >> 29);
        entries[i] = (para_trie_entry){texts[i], n, i};
    }
    static para_trie_entry sorted[COUNT];
    memcpy(sorted, entries, sizeof entries);
    para_trie t;
    assert_ok(para_trie_build(&t, sorted, COUNT));
    for (int i = 0; i < COUNT; i++) {
        int last = i;
        for (int j = i + 1; j < COUNT; j++)
            if (entries[j].bytes == entries[i].bytes && memcmp(texts[j], texts[i], entries[i].bytes) == 0) last = j;
        assert_int_equal(para_trie_find(&t, texts[i], entries[i].bytes), last);
    }
    assert_int_equal(para_trie_find(&t, "zz", 2), -1);
    assert_int_equal(para_trie_find(&t, "", 0), -1);
    para_trie_close(&t);
    assert_ok(para_trie_build(&t, entries, 0));
    assert_int_equal(para_trie_find(&t, "a", 1), -1);
    para_trie_close(&t);
}

/* The pairs of a word merged one after another, the lowest rank and the leftmost first: slow, and plainly right. */
static size_t merge_slowly(const para_merge *merges, size_t count, int32_t *ids, size_t n) {
    for (;;) {
        size_t best = count, at = 0;
        for (size_t i = 0; i + 1 < n; i++)
            for (size_t m = 0; m < best; m++)
                if (merges[m].left == ids[i] && merges[m].right == ids[i + 1]) best = m, at = i;
        if (best == count) return n;
        ids[at] = merges[best].merged;
        memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof *ids);
        n--;
    }
}

static void byte_pairs_merge_as_a_plain_loop(void **state) {
    (void)state;
    enum { LETTERS = 4, MERGES = 60, WORD = 50 };
    para_byte_pairs p = {.unknown = -1};
    assert_ok(para_byte_pairs_open(&p, MERGES));
    for (int i = 0; i < 256; i++) p.inner[i] = p.last[i] = i < LETTERS ? i : -1;
    para_merge merges[MERGES];
    uint32_t random = 7;
    size_t count = 0;
    while (count < MERGES) { /* distinct pairs of ids that exist by then */
        random = random * 1664525 + 1013904223;
        int32_t known = LETTERS + (int32_t)count, left = (int32_t)(random >> 16) % known,
                right = (int32_t)(random >> 8 & 0xFFFF) % known;
        bool there = false;
        for (size_t i = 0; i < count; i++) there |= merges[i].left == left && merges[i].right == right;
        if (there) continue;
        merges[count] = (para_merge){left, right, (int32_t)count, known};
        para_byte_pairs_put(&p, merges[count++]);
    }
    para_pair_work work = {0};
    for (int run = 0; run < 500; run++) {
        unsigned char word[WORD];
        int32_t slow[WORD];
        size_t n = 1 + (size_t)run % WORD;
        for (size_t i = 0; i < n; i++) {
            random = random * 1664525 + 1013904223;
            slow[i] = word[i] = (unsigned char)(random >> 24) % LETTERS;
        }
        para_ids ids = {0};
        assert_ok(para_byte_pairs_encode(&p, word, n, &work, &ids));
        n = merge_slowly(merges, MERGES, slow, n);
        assert_int_equal(ids.n, n);
        assert_memory_equal(ids.data, slow, n * sizeof *slow);
        para_free(ids.data);
    }
    para_pair_work_close(&work);
    para_byte_pairs_close(&p);
}

static int32_t find_nothing(const void *self, const char *text, size_t bytes) {
    (void)self, (void)text, (void)bytes;
    return -1;
}

/* Drops every x. */
static para_status normalize_without_x(const void *self, const char *text, size_t bytes, para_bytes *out) {
    (void)self;
    for (size_t i = 0; i < bytes; i++)
        if (text[i] != 'x') PARA_TRY(para_bytes_append(out, text + i, 1));
    return PARA_OK;
}

/* Segments as "start-stop:id " of one pass. */
static void assert_split(const para_added_vocabulary *v, bool normalized, const char *text, const char *wanted) {
    para_segments s = {0};
    char got[256] = "";
    assert_ok(para_added_split(v, normalized, text, strlen(text), &s));
    for (size_t i = 0; i < s.n; i++) {
        size_t n = strlen(got);
        snprintf(got + n, sizeof got - n, "%zu-%zu:%d ", s.items[i].start, s.items[i].stop, (int)s.items[i].id);
    }
    assert_string_equal(got, wanted);
    para_free(s.items);
}

static para_status add_some(para_added_vocabulary *v, bool split_special_tokens) {
    static const para_added_token tokens[] = {
        {.content = "<a>", .bytes = 3, .lstrip = true, .special = true},
        {.content = "<a>b", .bytes = 4, .rstrip = true},
        {.content = "", .bytes = 0},
        {.content = "\xC3\xA9", .bytes = 2, .single_word = true},
        {.content = "nxo", .bytes = 3, .normalized = true},
        {.content = "xx", .bytes = 2, .normalized = true}, /* nothing is left of it: never found */
        {.content = "<a>", .bytes = 3, .lstrip = true, .special = true},
    };
    para_token_list list = {0};
    para_token_model model = {NULL, find_nothing, normalize_without_x, 100};
    para_status status = PARA_OK;
    for (size_t i = 0; status == PARA_OK && i < sizeof tokens / sizeof *tokens; i++)
        status = para_token_list_append(&list, &tokens[i]);
    if (status == PARA_OK) status = para_added_vocabulary_open(v, &list, split_special_tokens, &model);
    para_token_list_close(&list);
    return status;
}

static void added_tokens_are_cut_out(void **state) {
    (void)state;
    para_added_vocabulary v;
    assert_ok(add_some(&v, false));
    assert_split(&v, false, "", "");
    assert_split(&v, false, "q", "0-1:-1 ");
    assert_split(&v, false, "q<a>q", "0-1:-1 1-4:100 4-5:-1 ");
    assert_split(&v, false, "q \xE3\x80\x80<a> q", "0-1:-1 1-8:100 8-10:-1 "); /* takes the space on its left */
    assert_split(&v, false, "<a>b \n<a><a",
                 "0-6:101 6-9:100 9-11:-1 "); /* longest first; takes the right, nothing is left */
    assert_split(&v, false, "\xC3\xA9 a\xC3\xA9 \xC3\xA9. \xC3\xA9_", "0-2:102 2-7:-1 7-9:102 9-14:-1 ");
    assert_split(&v, false, "\xC3\xA9\xE2\x80\x8D \xC3\xA9\xE2\x98\x83 \xE2\x92\xB6\xC3\xA9",
                 "0-6:-1 6-8:102 8-17:-1 "); /* a joiner and a circled letter are of words, a snowman is not */
    assert_split(&v, false, "nono", "0-4:-1 ");
    assert_split(&v, true, "nono", "0-2:103 2-4:103 ");
    para_added_vocabulary_close(&v);
    assert_ok(add_some(&v, true));
    assert_split(&v, false, "q<a>q<a>b", "0-5:-1 5-9:101 ");
    para_added_vocabulary_close(&v);
}

static para_status add_and_close(void) {
    para_added_vocabulary v;
    PARA_TRY(add_some(&v, false));
    para_added_vocabulary_close(&v);
    return PARA_OK;
}

static void survives_failed_allocations(void **state) {
    (void)state;
    assert_survives_alloc_failure(15, add_and_close());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(best_path_wins),
        cmocka_unit_test(ties_doubles_and_covered_unknowns),
        cmocka_unit_test(trie_finds_what_was_put_in),
        cmocka_unit_test(byte_pairs_merge_as_a_plain_loop),
        cmocka_unit_test(added_tokens_are_cut_out),
        cmocka_unit_test(survives_failed_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
