/* A stranger's program: built against the installed library only. SPDX-License-Identifier: Apache-2.0 */
#include <paraattn/status.h>
#include <paraattn/tensor.h>
#include <stdio.h>
#include <string.h>

int main(void) {
    int64_t dim[2] = {3, 5};
    para_tensor t = para_tensor_make(NULL, PARA_BF16, 2, dim);
    if (para_tensor_count(&t) != 15 || strcmp(para_status_name(PARA_ERR_IO), "PARA_ERR_IO") != 0) return 1;
    printf("consumer: %s\n", para_status_text(PARA_OK));
    return 0;
}
