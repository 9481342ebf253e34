// The system calls that an engine may make: a seccomp filter, in addition to Landlock.
//
// Landlock protects the contents of files. It does not stop a process from changing
// modes, owners and times of the user's files, connecting to services over Unix domain
// sockets, or slowing down other processes.
#ifndef JAXFACTORY_DOOM_SANDBOX_SYSCALL_FILTER_H_
#define JAXFACTORY_DOOM_SANDBOX_SYSCALL_FILTER_H_

#include <cstdint>
#include <vector>

namespace jaxfactory {

// The filter for one process, built before the process starts, like a `Sandbox`.
class SyscallFilter {
 public:
  // `udp`: whether the process may create UDP sockets; others are always refused. Does
  // nothing on processors whose call numbers are not listed here.
  void Prepare(bool udp);

  // Applies the filter to the calling process, permanently. The process must have set
  // PR_SET_NO_NEW_PRIVS. Makes only system calls. Returns false if it fails, true also
  // if the kernel has no filters.
  bool Enter() const;

  // An instruction in the kernel's format.
  struct Instruction {
    std::uint16_t code = 0;
    std::uint8_t if_true = 0, if_false = 0;  // instructions to skip
    std::uint32_t value = 0;
  };

 private:
  std::vector<Instruction> program_;
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_SANDBOX_SYSCALL_FILTER_H_
