// Replaces the engine's slowest loop by a faster one, in a running engine's memory.
//
// The engine draws in palette colors and then converts the image to RGB pixel by
// pixel. It divides for each pixel, and multiplies the result by a number that is 0 at
// all usual sizes. This takes a fifth of its time. The replacement computes the same
// bytes row by row, without divisions. It overwrites only the exact known machine code:
// any other engine, or one on another processor or on a system that forbids the write,
// stays unchanged and is slower.
#ifndef JAXFACTORY_DOOM_PATCHES_SCREEN_LOOP_H_
#define JAXFACTORY_DOOM_PATCHES_SCREEN_LOOP_H_

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace jaxfactory {

// Offset of the loop in an engine's executable file, in bytes; -1 if it does not occur
// exactly once.
std::int64_t FindScreenLoop(const std::string& executable);

// Replaces the loop in a process that runs the executable and is waiting for a request.
// Returns whether it was replaced. The process's output must be 24-bit RGB.
bool ReplaceScreenLoop(pid_t pid, const std::string& executable, std::int64_t offset);

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_PATCHES_SCREEN_LOOP_H_
