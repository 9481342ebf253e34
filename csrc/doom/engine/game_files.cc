#include "doom/engine/game_files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "doom/engine/engine_config.h"

namespace jaxfactory {
namespace {

std::vector<std::string> Files(const std::vector<std::string>& arguments) {
  std::vector<std::string> files;
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    if (arguments[i - 1] == "-file" || arguments[i - 1] == "-iwad") {
      files.push_back(arguments[i]);
    }
  }
  return files;
}

}  // namespace

void RequireFiles(const std::vector<std::string>& arguments) {
  for (const std::string& file : Files(arguments)) {
    if (access(file.c_str(), R_OK) == 0) continue;
    throw EngineError("The engine's file " + file + " cannot be read any more (" +
                      std::strerror(errno) + "); put it back.");
  }
}

FileStamps StampFiles(const std::vector<std::string>& arguments) {
  FileStamps stamps;
  for (const std::string& file : Files(arguments)) {
    struct stat info{};
    stat(file.c_str(), &info);  // all zero if there is none
    stamps.push_back({static_cast<std::int64_t>(info.st_dev),
                      static_cast<std::int64_t>(info.st_ino), info.st_size,
                      info.st_mtim.tv_sec, info.st_mtim.tv_nsec});
  }
  return stamps;
}

}  // namespace jaxfactory
