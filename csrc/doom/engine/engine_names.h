// The names that an engine and its controller use in /dev/shm.
#ifndef JAXFACTORY_DOOM_ENGINE_ENGINE_NAMES_H_
#define JAXFACTORY_DOOM_ENGINE_ENGINE_NAMES_H_

#include <string>

namespace jaxfactory {

// Prefixes of the names; an instance id follows.
inline constexpr char kToEngineName[] = "ViZDoomMQDoom";
inline constexpr char kFromEngineName[] = "ViZDoomMQCtr";
inline constexpr char kSegmentName[] = "ViZDoomSM";

// Throws EngineError if too little of /dev/shm is free for another engine. A page of it
// that does not exist cannot be written: the kernel ends whoever tries with SIGBUS.
void RequireSharedMemory();

// What to do about a full /dev/shm, as the end of an error message.
inline constexpr char kMoreSharedMemory[] =
    "use fewer environments, or make /dev/shm larger (a container: --shm-size=2g).";

// Ten characters, the length that the engine expects. Random, so that ids are unique
// among users of this machine and among PID namespaces that share /dev/shm. A fixed
// prefix distinguishes them from the names of other programs.
std::string RandomInstanceId();

// Marks an id as used by this process for the object's lifetime: a lock on the queue
// to the engine, which is created first and removed last. The kernel releases the lock
// when the process ends in any way.
class IdLock {
 public:
  IdLock() = default;
  ~IdLock();
  IdLock(const IdLock&) = delete;
  IdLock& operator=(const IdLock&) = delete;

  // Returns false if another process considered the queue stale and removed it.
  bool Take(const std::string& id);
  void Release();

 private:
  int fd_ = -1;
};

// Removes a name in /dev/shm if this user owns it.
void RemoveOwnName(const std::string& name);

// Removes the names that engines of this user's dead processes left behind.
void RemoveStaleNames();

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_ENGINE_ENGINE_NAMES_H_
