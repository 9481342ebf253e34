// How long an engine may be waited for, by a clock that a pause does not advance.
#ifndef JAXFACTORY_DOOM_ENGINE_WAIT_LIMIT_H_
#define JAXFACTORY_DOOM_ENGINE_WAIT_LIMIT_H_

#include <chrono>
#include <optional>

namespace jaxfactory {

// Time by somebody who looks at it repeatedly, at least every half second: a longer
// pause counts as half a second. Not for several threads at once.
class WatchedClock {
 public:
  using Seconds = std::chrono::duration<double>;
  // Returns the time that has passed until now.
  Seconds Look();

 private:
  std::chrono::steady_clock::time_point last_;
  Seconds passed_{0};
};

// The time during which this process has waited for engines. It stands still while the
// process does not look at it: between requests, and while a container, a virtual
// machine or the whole group of processes is stopped.
std::chrono::duration<double> WaitingTime();

class WaitLimit {
 public:
  // A new wait, which begins with the next call of `Exceeded`.
  void Restart(double seconds) {
    seconds_ = seconds;
    begun_.reset();
  }
  double seconds() const { return seconds_; }
  // Call it repeatedly while waiting, at least every half second.
  bool Exceeded() {
    const auto now = WaitingTime();
    if (!begun_) begun_ = now;
    return (now - *begun_).count() >= seconds_;
  }

 private:
  double seconds_ = 0;
  std::optional<std::chrono::duration<double>> begun_;
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_ENGINE_WAIT_LIMIT_H_
