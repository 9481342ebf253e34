#include "doom/engine/wait_limit.h"

#include <algorithm>
#include <mutex>

namespace jaxfactory {

std::chrono::duration<double> WaitingTime() {
  using std::chrono::steady_clock;
  using Seconds = std::chrono::duration<double>;
  // Whoever waits looks more often than that.
  constexpr Seconds kLongestStep{0.5};
  static std::mutex mutex;
  static steady_clock::time_point last;
  static Seconds passed{0};
  const std::scoped_lock lock(mutex);
  const auto now = steady_clock::now();
  passed += std::min<Seconds>(now - last, kLongestStep);
  last = now;
  return passed;
}

}  // namespace jaxfactory
