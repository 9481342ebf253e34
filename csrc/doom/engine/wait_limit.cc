#include "doom/engine/wait_limit.h"

#include <algorithm>
#include <mutex>

namespace jaxfactory {

WatchedClock::Seconds WatchedClock::Look() {
  // Whoever waits looks more often than that.
  constexpr Seconds kLongestStep{0.5};
  const auto now = std::chrono::steady_clock::now();
  passed_ += std::min<Seconds>(now - last_, kLongestStep);
  last_ = now;
  return passed_;
}

std::chrono::duration<double> WaitingTime() {
  static std::mutex mutex;
  static WatchedClock clock;
  const std::scoped_lock lock(mutex);
  return clock.Look();
}

}  // namespace jaxfactory
