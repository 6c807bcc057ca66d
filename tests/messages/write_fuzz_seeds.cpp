// Writes one seed for each record type into the folder given: where the fuzzer starts from.
#include <fstream>
#include <iostream>
#include <string>

#include "messages/codec.hpp"
#include "tests/messages/samples.hpp"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: write_fuzz_seeds FOLDER\n";
    return 2;
  }
  int type = 0;
  bool written = true;
  std::apply(
      [&](const auto&... records) {
        const auto write = [&](const auto& record) {
          std::ofstream file(std::string(argv[1]) + "/seed" + std::to_string(type),
                             std::ios::binary);
          file.put(static_cast<char>(type++));
          file << *tracewise::encode(record);
          written = written && file.good();
        };
        (write(records), ...);
      },
      tracewise::samples::all());
  return written ? 0 : 2;
}
