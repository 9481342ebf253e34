// The files of a game: its own, and those of maps.
#ifndef JAXFACTORY_DOOM_ENGINE_GAME_FILES_H_
#define JAXFACTORY_DOOM_ENGINE_GAME_FILES_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace jaxfactory {

// Throws EngineError if a file that an engine's arguments name cannot be read: without
// its map file an engine would start, on the first map of its own game.
void RequireFiles(const std::vector<std::string>& arguments);

// Changes when one of these files is replaced or written to.
using FileStamps = std::vector<std::array<std::int64_t, 5>>;
FileStamps StampFiles(const std::vector<std::string>& arguments);

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_ENGINE_GAME_FILES_H_
