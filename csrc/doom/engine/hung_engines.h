// Engines that stopped while they held their message queue's lock.
//
// A wait for a message has a time-out, but pthreads acquires the lock again before the
// wait returns, without a time-out. An engine that is stopped just then would block the
// worker forever. The lock is robust: once the engine is killed, the wait returns and
// the engine is detected as dead. Only another thread can kill it. Some waits are for
// another lock, which is not robust; see abandoned_lock.h.
#ifndef JAXFACTORY_DOOM_ENGINE_HUNG_ENGINES_H_
#define JAXFACTORY_DOOM_ENGINE_HUNG_ENGINES_H_

#include <sys/types.h>

namespace jaxfactory {

// Registers, for its lifetime, that this thread waits for an engine's message.
class Receiving {
 public:
  // `limit`: seconds that the engine may take to answer.
  Receiving(pid_t engine, double limit);
  ~Receiving();
  Receiving(const Receiving&) = delete;
  Receiving& operator=(const Receiving&) = delete;
};

enum class Patience { kUntilLimit, kNone };

// Kills the engines from which a thread has been receiving without a pause for longer
// than their limits, or than a second, which happens only if the lock is held, and
// releases the lock of those that have ended. Call it repeatedly: only time in which it
// is called counts, so that engines survive when all processes are stopped for a while.
void KillHungEngines(Patience patience);

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_ENGINE_HUNG_ENGINES_H_
