// Engines that stopped while they held their message queue's lock.
//
// A wait for a message is bounded, but pthreads takes the lock again before such a wait
// returns, and waits for that without bound. An engine that is stopped just then would
// block us forever. Its lock is robust: once the engine is killed, the wait returns,
// and the engine is found dead. Only another thread can do that.
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

// Kills the engines that a thread has been receiving from for over a second, which a
// wait takes only where the lock is held: those past their deadlines, or all of them.
void KillHungEngines(Patience patience);

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_ENGINE_HUNG_ENGINES_H_
