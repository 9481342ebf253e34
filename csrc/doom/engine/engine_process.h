// Starting and ending the process of an engine.
#ifndef JAXFACTORY_DOOM_ENGINE_ENGINE_PROCESS_H_
#define JAXFACTORY_DOOM_ENGINE_ENGINE_PROCESS_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "doom/engine/engine_config.h"

namespace jaxfactory {

// What the child ends with, beside what the engine itself may.
inline constexpr int kNotConfined = 126;  // it could not be put into its sandbox
inline constexpr int kNotStarted = 127;   // as a shell says it
// The library of a match's engines says it; see match_preload.cc.
inline constexpr int kPortTaken = 98;
inline constexpr int kLoaded = 77;

// Starts an engine. It has the environment variables that are given and no others, runs
// in the configured folder and sandbox, gains no rights by what it executes, leaves no
// core dump, and dies with the thread that started it. Throws EngineError.
pid_t StartProcess(const EngineConfig& config, std::vector<std::string> words,
                   std::vector<std::string> environment);

// Ends it. What cannot be ended, as it is stuck in the kernel, is left after a while.
void EndProcess(pid_t pid);

// Throws EngineError unless a process of the configured executable loads the configured
// library. The dynamic linker skips one that it cannot load, with a message that nobody
// sees, and without it an engine would listen on all network addresses. Asked once for
// each library, of a process that ends before the engine begins.
void RequireLibrary(const EngineConfig& config);

// Whether it has loaded a library of this file name, even if its file is gone since.
bool HasLoaded(pid_t pid, const std::string& library);

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_ENGINE_ENGINE_PROCESS_H_
