/* Tables of what Unicode versions differ in. SPDX-License-Identifier: Apache-2.0 */
#include "text/unicode_since.h"

#include <stddef.h>

typedef struct range {
    int32_t first, last;
} range;

/* Whole blocks where all of the block is newer than Unicode 9. */
static const range inert[] = {{0x7FD, 0x7FD},     {0x897, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},
                              {0xC3C, 0xC3C},     {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},
                              {0x1ABF, 0x1AFF},   {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},   {0x10580, 0x105FF},
                              {0x10D00, 0x10D8F}, {0x10E80, 0x10FFF}, {0x11070, 0x11070}, {0x1133B, 0x1133B},
                              {0x11380, 0x113FF}, {0x1145E, 0x1145E}, {0x11800, 0x1184F}, {0x11900, 0x119FF},
                              {0x11A00, 0x11AAF}, {0x11B60, 0x11B6F}, {0x11D00, 0x11DAF}, {0x11F00, 0x11F5F},
                              {0x16100, 0x1613F}, {0x16D40, 0x16D7F}, {0x16FF0, 0x16FF1}, {0x1E030, 0x1E08F},
                              {0x1E100, 0x1E14F}, {0x1E290, 0x1E2FF}, {0x1E4D0, 0x1E5FF}, {0x1E6C0, 0x1E6FF}};

static const range extends[] = {{0x897, 0x897},     {0x1ACF, 0x1ADD},   {0x1AE0, 0x1AEB},   {0x10D69, 0x10D6D},
                                {0x10EFA, 0x10EFC}, {0x113B8, 0x113C0}, {0x113C2, 0x113C2}, {0x113C5, 0x113C5},
                                {0x113C7, 0x113CA}, {0x113CC, 0x113D0}, {0x113D2, 0x113D2}, {0x113E1, 0x113E2},
                                {0x11B60, 0x11B67}, {0x11F5A, 0x11F5A}, {0x1611E, 0x1612F}, {0x1E5EE, 0x1E5EF},
                                {0x1E6E3, 0x1E6E3}, {0x1E6E6, 0x1E6E6}, {0x1E6EE, 0x1E6EF}, {0x1E6F5, 0x1E6F5}};

static const struct {
    int32_t first, last, shift;
} lower[] = {{0x1C89, 0x1C89, 1},      {0xA7CB, 0xA7CB, 0x264 - 0xA7CB},
             {0xA7CC, 0xA7CC, 1},      {0xA7CE, 0xA7CE, 1},
             {0xA7D2, 0xA7D2, 1},      {0xA7D4, 0xA7D4, 1},
             {0xA7DA, 0xA7DA, 1},      {0xA7DC, 0xA7DC, 0x19B - 0xA7DC},
             {0x10D50, 0x10D65, 0x20}, {0x16EA0, 0x16EB8, 0x1B}};

static bool among(const range *ranges, size_t n, int32_t c) {
    if (c < ranges[0].first) return false; /* most text */
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c > ranges[middle].last) low = middle + 1;
        else high = middle;
    }
    return low < n && c >= ranges[low].first;
}

bool para_inert_in_unicode_9(int32_t c) {
    return among(inert, sizeof inert / sizeof *inert, c);
}

bool para_extends_since_unicode_15(int32_t c) {
    return among(extends, sizeof extends / sizeof *extends, c);
}

int32_t para_lower_since_unicode_15(int32_t c) {
    for (size_t i = 0; i < sizeof lower / sizeof *lower && c >= lower[i].first; i++)
        if (c <= lower[i].last) return c + lower[i].shift;
    return c;
}
