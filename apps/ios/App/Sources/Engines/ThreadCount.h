#pragma once

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Sets how many threads ExecuTorch's CPU backends share from now on. No model may be running.
/// Returns false where it can't be set.
bool mobilemod_set_threads(uint32_t count);

#ifdef __cplusplus
}
#endif
