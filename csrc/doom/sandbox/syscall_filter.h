// What an engine may ask of the kernel: a seccomp filter, beside Landlock's rules.
//
// Landlock is about what files hold. It lets a process change modes, owners and times
// of the user's files, speak to services over sockets that are files, and slow down
// other processes.
#ifndef JAXFACTORY_DOOM_SANDBOX_SYSCALL_FILTER_H_
#define JAXFACTORY_DOOM_SANDBOX_SYSCALL_FILTER_H_

#include <cstdint>
#include <vector>

namespace jaxfactory {

// The filter for one process, made beforehand, as a `Sandbox` is.
class SyscallFilter {
 public:
  // `udp`: whether it may have UDP sockets. It gets no others. Does nothing on
  // processors whose calls are not written down here.
  void Prepare(bool udp);

  // Puts the calling process under the filter, for good. It must have given up gaining
  // rights. Only system calls. Returns false if it failed; true too where the kernel
  // has no filters.
  bool Enter() const;

  // An instruction, as the kernel takes it.
  struct Instruction {
    std::uint16_t code = 0;
    std::uint8_t if_true = 0, if_false = 0;  // instructions that are skipped
    std::uint32_t value = 0;
  };

 private:
  std::vector<Instruction> program_;
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_SANDBOX_SYSCALL_FILTER_H_
