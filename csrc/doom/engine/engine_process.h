// Starting and ending the process of an engine.
#ifndef JAXFACTORY_DOOM_ENGINE_ENGINE_PROCESS_H_
#define JAXFACTORY_DOOM_ENGINE_ENGINE_PROCESS_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "doom/engine/engine_config.h"

namespace jaxfactory {

// Exit statuses of the child, in addition to the engine's own.
inline constexpr int kNotConfined = 126;  // its sandbox could not be set up
inline constexpr int kNotStarted = 127;   // as in a shell
// Exit statuses of the library in a match's engines; see match_preload.cc.
inline constexpr int kPortTaken = 98;
inline constexpr int kLoaded = 77;

// What an engine inherits besides its standard streams.
struct Inherited {
  std::string library = {};  // to load before its own; none if empty
  int control = -1;          // a socket; see fork_server.h
};

// Starts an engine. It gets only the given environment variables, runs in the
// configured folder and sandbox, cannot gain privileges by executing a file, leaves no
// core dump, and dies with the thread that started it. Throws EngineError.
pid_t StartProcess(const EngineConfig& config, std::vector<std::string> words,
                   std::vector<std::string> environment, const Inherited& inherited);

// Kills a process. Gives up after a while if it is stuck in the kernel.
void EndProcess(pid_t pid);

// Throws EngineError unless a process of the configured executable loads the configured
// library. The dynamic linker skips a library that it cannot load, with a message that
// nobody sees, and without it an engine would listen on all network addresses. Checked
// once per library, in a process that exits before the engine's own code runs.
void RequireLibrary(const EngineConfig& config);

// Whether a process has loaded a library of this file name, even one deleted since.
bool HasLoaded(pid_t pid, const std::string& library);

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_ENGINE_ENGINE_PROCESS_H_
