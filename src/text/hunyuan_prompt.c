/* HunyuanVideo's prompt template and its crop. SPDX-License-Identifier: Apache-2.0 */
#include "text/hunyuan_prompt.h"

#include <limits.h>
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "text/text_buffer.h"
#include "text/unicode_text.h"

const para_prompt_template para_hunyuan_template = {
    .text = "<|start_header_id|>system<|end_header_id|>\n\nDescribe the video by detailing the following aspects: "
            "1. The main content and theme of the video."
            "2. The color, shape, size, texture, quantity, text, and spatial relationships of the objects."
            "3. Actions, events, behaviors temporal relationships, physical movement changes of the objects."
            "4. background environment, light, style and atmosphere."
            "5. camera angles, movements, and transitions used in the video:<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>",
    .crop_start = 95,
};

/* Python's str.format, of which one {} and doubled braces are needed. */
static para_status fill(const char *template, const char *prompt, para_bytes *out) {
    int places = 0;
    for (const char *at = template; *at; at++) {
        bool brace = *at == '{' || *at == '}';
        if (brace && at[1] == *at) {
            at++;
        } else if (brace) {
            if (*at != '{' || at[1] != '}' || places++)
                return para_fail(PARA_ERR_ARGUMENT, "the prompt template has a brace other than one {}; write other "
                                                    "braces twice");
            PARA_TRY(para_bytes_append(out, prompt, strlen(prompt)));
            at++;
            continue;
        }
        PARA_TRY(para_bytes_append(out, at, 1));
    }
    if (places) return PARA_OK;
    return para_fail(PARA_ERR_ARGUMENT, "the prompt template has no {}, where the prompt would go");
}

/* diffusers pads the template as it stands to model_max_length, where there is one, and takes the {} and the token behind it off the count. */
static para_status count_crop(const para_tokenizer *t, const para_prompt_template *template, int *crop) {
    int32_t *ids;
    int64_t n;
    *crop = template->crop_start;
    if (*crop >= 0) return PARA_OK;
    PARA_TRY(para_tokenize_all(t, template->text, strlen(template->text), &ids, &n));
    para_free(ids);
    int limit = para_tokenizer_max_length(t);
    if (limit < INT_MAX && n < limit) n = limit;
    *crop = n < 2 ? 0 : n - 2 > INT_MAX / 4 ? INT_MAX / 4 : (int)n - 2;
    return PARA_OK;
}

para_status para_hunyuan_tokenize(const para_tokenizer *t, const para_prompt_template *template, const char *prompt,
                                  int max_sequence_length, para_prompt_tokens *out) {
    *out = (para_prompt_tokens){0};
    int crop;
    size_t bad;
    if (!para_utf8_valid(prompt, strlen(prompt), &bad)) /* counted in the prompt, not behind the template */
        return para_fail(PARA_ERR_ARGUMENT, "the prompt is not UTF-8 (byte %zu); convert it to UTF-8", bad);
    PARA_TRY(count_crop(t, template, &crop));
    if (max_sequence_length < 1 || max_sequence_length > INT_MAX / 4 || crop > INT_MAX / 4)
        return para_fail(PARA_ERR_ARGUMENT, "max_sequence_length is %d; give 1 to %d", max_sequence_length,
                         INT_MAX / 4);
    int length = max_sequence_length + crop;
    para_bytes text = {0};
    int32_t *ids = para_alloc((size_t)length, sizeof *ids);
    para_status status = ids ? fill(template->text, prompt, &text) : PARA_ERR_MEMORY;
    if (status == PARA_OK) status = para_tokenize(t, text.data, text.n, length, ids, &out->used, &out->dropped);
    para_free(text.data);
    if (status == PARA_OK && out->used <= crop)
        status = para_fail(PARA_ERR_ARGUMENT,
                           "the prompt in its template has %d tokens, of which crop_start %d leaves none; take the "
                           "template and crop_start that belong to the tokenizer",
                           out->used, crop);
    if (status != PARA_OK) {
        para_free(ids);
        return status;
    }
    out->ids = ids;
    out->crop_start = crop;
    return PARA_OK;
}
