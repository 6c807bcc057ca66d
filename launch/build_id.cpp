#include "launch/build_id.hpp"

#include <elf.h>
#include <link.h>

#include <cstring>

namespace tracewise {
namespace {

// The build id among the notes in [at, end); each is a header, a name and a description, the last
// two padded to 4 bytes.
std::string find_in_notes(const char* at, const char* end) {
  const auto padded = [](size_t size) { return (size + 3) & ~size_t{3}; };
  while (at + sizeof(ElfW(Nhdr)) <= end) {
    ElfW(Nhdr) note;
    std::memcpy(&note, at, sizeof note);
    const char* name = at + sizeof note;
    const char* description = name + padded(note.n_namesz);
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && std::memcmp(name, "GNU", 4) == 0) {
      std::string hex;
      for (size_t i = 0; i < note.n_descsz; ++i) {
        constexpr const char* kDigits = "0123456789abcdef";
        const auto byte = static_cast<unsigned char>(description[i]);
        hex += kDigits[byte >> 4];
        hex += kDigits[byte & 15];
      }
      return hex;
    }
    at = description + padded(note.n_descsz);
  }
  return {};
}

int read_program(dl_phdr_info* info, size_t, void* found) {
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = info->dlpi_phdr[i];
    if (header.p_type != PT_NOTE) continue;
    const char* notes = reinterpret_cast<const char*>(info->dlpi_addr + header.p_vaddr);
    const std::string id = find_in_notes(notes, notes + header.p_memsz);
    if (!id.empty()) *static_cast<std::string*>(found) = id;
  }
  return 1;  // the program comes first; the libraries' ids are not asked for
}

}  // namespace

std::string build_id() {
  std::string id;
  ::dl_iterate_phdr(read_program, &id);
  return id;
}

}  // namespace tracewise
