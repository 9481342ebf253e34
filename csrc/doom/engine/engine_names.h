// The names that an engine and its controller use in /dev/shm.
#ifndef JAXFACTORY_DOOM_ENGINE_ENGINE_NAMES_H_
#define JAXFACTORY_DOOM_ENGINE_ENGINE_NAMES_H_

#include <string>

namespace jaxfactory {

// Prefixes of the names; an instance id follows.
inline constexpr char kToEngineName[] = "ViZDoomMQDoom";
inline constexpr char kFromEngineName[] = "ViZDoomMQCtr";
inline constexpr char kSegmentName[] = "ViZDoomSM";

// Ten characters, the length that the engine expects. Drawn at random, so that no other
// user of this machine, and no process of another PID namespace with the same /dev/shm,
// has names like it. How they begin tells them from the names of other programs.
std::string RandomInstanceId();

// Marks an id as used by this process for the object's lifetime: a lock on the queue
// to the engine, which is made first and removed last. The kernel releases it when the
// process ends, however it does.
class IdLock {
 public:
  IdLock() = default;
  ~IdLock();
  IdLock(const IdLock&) = delete;
  IdLock& operator=(const IdLock&) = delete;

  // Returns false if somebody removed the queue, having taken it for an abandoned one.
  bool Take(const std::string& id);
  void Release();

 private:
  int fd_ = -1;
};

// Removes a segment of this user's; a stranger's stays.
void RemoveOwnName(const std::string& name);

// Removes what engines of this user's processes that no longer exist left behind.
void RemoveStaleNames();

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_ENGINE_ENGINE_NAMES_H_
