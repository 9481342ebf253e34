// What an engine may touch: Landlock, where the kernel has it.
//
// An engine is a large program of the nineties that parses maps and scripts which may
// come from strangers. It needs to read its own files, and to write its shared memory.
#ifndef JAXFACTORY_DOOM_SANDBOX_SANDBOX_H_
#define JAXFACTORY_DOOM_SANDBOX_SANDBOX_H_

#include <string>
#include <vector>

namespace jaxfactory {

// The version of Landlock's interface that the kernel has; 0 where it has none, or does
// not let us use it.
int LandlockVersion();

// The rules for one process, made beforehand, so that a child that borrows our memory
// has to make system calls only.
class Sandbox {
 public:
  Sandbox() = default;
  ~Sandbox();
  Sandbox(const Sandbox&) = delete;
  Sandbox& operator=(const Sandbox&) = delete;

  // Files and folders, with all that is in them, that may be read and run, and folders
  // and files that may be written too. All else is forbidden, and so are TCP, sockets
  // with abstract names of others, and signals to others, as far as the kernel knows
  // how. What does not exist is left out. Does nothing without Landlock; throws
  // EngineError if the kernel has it and does not take the rules.
  void Prepare(const std::vector<std::string>& readable,
               const std::vector<std::string>& writable);

  // Puts the calling process under the rules, for good. Only system calls. Returns
  // false if it failed; true where there are no rules.
  bool Enter() const;

 private:
  void Allow(const std::string& path, bool write, unsigned long long handled);

  int rules_ = -1;
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_SANDBOX_SANDBOX_H_
