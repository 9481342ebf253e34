// Releases the lock inside a condition variable whose holder has died.
#ifndef JAXFACTORY_DOOM_ENGINE_ABANDONED_LOCK_H_
#define JAXFACTORY_DOOM_ENGINE_ABANDONED_LOCK_H_

#include <sys/types.h>

namespace jaxfactory {

// The mutex of a message queue is robust: when its holder dies, the next one that waits
// for it gets it. The condition variable beside it is not. The C library guards its
// parts with a lock of two bits, which an engine holds for some instructions in each
// message that it sends. If it dies there, whoever gives up waiting for the message
// waits for that lock forever.
//
// If this thread of the process waits for such a lock, it gets it. Call it only when
// the process at the other end of the queue has ended. Returns whether it did.
bool ReleaseAbandonedLock(pid_t thread);

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_ENGINE_ABANDONED_LOCK_H_
