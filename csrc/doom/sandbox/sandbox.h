// The files that an engine may access, enforced by Landlock if the kernel has it.
//
// An engine is a large program of the nineties that parses untrusted maps and scripts.
// It needs to read its own files, and to write its shared memory.
#ifndef JAXFACTORY_DOOM_SANDBOX_SANDBOX_H_
#define JAXFACTORY_DOOM_SANDBOX_SANDBOX_H_

#include <string>
#include <vector>

namespace jaxfactory {

// The version of Landlock's interface in the kernel; 0 if it is missing or disabled.
int LandlockVersion();

// The rules for one process, built before the process starts, so that a child that
// shares its parent's memory needs only system calls.
class Sandbox {
 public:
  Sandbox() = default;
  ~Sandbox();
  Sandbox(const Sandbox&) = delete;
  Sandbox& operator=(const Sandbox&) = delete;

  // Files and folders, with all their contents, that may be read and executed, and
  // those that may also be written. All other files are forbidden. So are TCP, abstract
  // sockets of other processes, and signals to them, as far as the kernel supports it.
  // Skips paths that do not exist. Does nothing without Landlock; throws EngineError if
  // Landlock rejects the rules.
  void Prepare(const std::vector<std::string>& readable,
               const std::vector<std::string>& writable);

  // Applies the rules to the calling process, permanently. Makes only system calls.
  // Returns false if it fails, true if there are no rules.
  bool Enter() const;

 private:
  void Allow(const std::string& path, bool write, unsigned long long handled);

  int rules_ = -1;
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_SANDBOX_SANDBOX_H_
