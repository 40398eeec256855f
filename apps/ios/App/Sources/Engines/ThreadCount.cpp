#include "ThreadCount.h"

// ExecuTorch has no Swift call for this, and its Swift package brings the thread pool as a library
// without headers: the two functions are declared here as its 1.4 library has them.
#include <cstddef>

namespace executorch::extension::threadpool {
class ThreadPool final {
 public:
  size_t get_thread_count() const;
  bool _unsafe_reset_threadpool(uint32_t num_threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

bool mobilemod_set_threads(uint32_t count) {
  auto* pool = executorch::extension::threadpool::get_threadpool();
  if (pool == nullptr || count == 0) return false;
  return pool->get_thread_count() == count || pool->_unsafe_reset_threadpool(count);
}
