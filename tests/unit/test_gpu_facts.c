/* Machines whose GPU cannot be used. SPDX-License-Identifier: Apache-2.0 */
#include "backend/gpu_facts.h"

#include "io_checks.h"

static void machines(void **state) {
    (void)state;
    const para_gpu_facts good = {13000, 13000, 2, "NVIDIA A100", 8, 0};
    para_gpu_facts f = good;
    for (int i = 0; i < 2; i++) assert_ok(para_gpu_refuse(&f, i));
    assert_fails(PARA_ERR_DEVICE, "there is no GPU 2: this machine has 2, counted from 0", para_gpu_refuse(&f, 2));
    assert_fails(PARA_ERR_DEVICE, "there is no GPU -1", para_gpu_refuse(&f, -1));
    f.name = "NVIDIA Tesla V100", f.major = 7;
    assert_fails(PARA_ERR_DEVICE, "GPU 1 (NVIDIA Tesla V100) has compute capability 7.0, and 8.0 is the least", para_gpu_refuse(&f, 1));
    f.name = NULL; /* not looked at yet */
    assert_ok(para_gpu_refuse(&f, 1));
    f.count = 0;
    assert_fails(PARA_ERR_DEVICE, "finds no GPU on this machine", para_gpu_refuse(&f, 0));
    f.driver = 12080;
    assert_fails(PARA_ERR_DEVICE, "driver is for CUDA 12.8, and this library needs CUDA 13.0: install a newer driver", para_gpu_refuse(&f, 0));
    f.driver = 0;
    assert_fails(PARA_ERR_DEVICE, "there is no NVIDIA driver on this machine", para_gpu_refuse(&f, 0));
    f = good;
    f.driver = 13000, f.runtime = 13020; /* minor versions do with each other */
    assert_ok(para_gpu_refuse(&f, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(machines)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
