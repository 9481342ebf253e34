// Engines that stopped while they held their message queue's lock.
//
// A wait for a message has a time-out, but pthreads acquires the lock again before the
// wait returns, without a time-out. An engine that is stopped just then would block the
// worker forever. The lock is robust: once the engine is killed, the wait returns and
// the engine is detected as dead. Only another thread can kill it.
#ifndef JAXFACTORY_DOOM_ENGINE_HUNG_ENGINES_H_
#define JAXFACTORY_DOOM_ENGINE_HUNG_ENGINES_H_

#include <sys/types.h>

#include <chrono>

namespace jaxfactory {

// Registers, for its lifetime, that this thread waits for an engine's message.
class Receiving {
 public:
  // `deadline`: when the engine should have answered.
  Receiving(pid_t engine, std::chrono::steady_clock::time_point deadline);
  ~Receiving();
  Receiving(const Receiving&) = delete;
  Receiving& operator=(const Receiving&) = delete;
};

enum class Patience { kUntilDeadline, kNone };

// Kills the engines from which a thread has been receiving for over a second, which
// happens only if the lock is held: those past their deadlines, or all of them.
void KillHungEngines(Patience patience);

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_ENGINE_HUNG_ENGINES_H_
