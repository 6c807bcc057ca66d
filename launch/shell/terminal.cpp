#include "launch/shell/terminal.hpp"

#include <histedit.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace tracewise {

class Terminal::Impl {
 public:
  Impl(std::string prompt, std::filesystem::path file, Complete complete)
      : prompt_(std::move(prompt)), file_(std::move(file)), complete_(std::move(complete)) {}
  ~Impl() {
    if (editor_ != nullptr) el_end(editor_);
    if (history_ != nullptr) history_end(history_);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  bool open() {
    history_ = history_init();
    editor_ = el_init("tracewise", stdin, stdout, stderr);
    if (history_ == nullptr || editor_ == nullptr) return false;
    HistEvent event;
    history(history_, &event, H_SETSIZE, kHistoryLines);
    history(history_, &event, H_SETUNIQUE, 1);
    history(history_, &event, H_LOAD, file_.c_str());
    el_set(editor_, EL_CLIENTDATA, this);
    el_set(editor_, EL_PROMPT, &Impl::prompt);
    el_set(editor_, EL_EDITOR, "emacs");
    el_set(editor_, EL_SIGNAL, 1);  // the terminal is as it was after a signal
    el_set(editor_, EL_HIST, history, history_);
    el_set(editor_, EL_ADDFN, "complete", "completes commands and names", &Impl::complete);
    el_set(editor_, EL_BIND, "\t", "complete", nullptr);
    el_set(editor_, EL_BIND, "^R", "em-inc-search-prev", nullptr);
    return true;
  }

  std::optional<std::string> line() {
    // Before the prompt: what is typed as soon as it stands there is read as keys.
    el_set(editor_, EL_PREP_TERM, 1);
    int length = 0;
    const char* const text = el_gets(editor_, &length);
    if (text == nullptr || length <= 0) return {};
    std::string line(text, static_cast<size_t>(length));
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
    if (line.find_first_not_of(" \t") != std::string::npos) remember(line);
    return line;
  }

 private:
  static constexpr int kHistoryLines = 1000;

  static Impl& of(EditLine* editor) {
    void* impl = nullptr;
    el_get(editor, EL_CLIENTDATA, &impl);
    return *static_cast<Impl*>(impl);
  }

  static char* prompt(EditLine* editor) { return of(editor).prompt_.data(); }

  // Adds what all words have in common; shows them where that is nothing new.
  static unsigned char complete(EditLine* editor, int) {
    const LineInfo* const info = el_line(editor);
    const Completion found = of(editor).complete_(std::string(info->buffer, info->cursor));
    if (found.words.empty()) return CC_ERROR;
    std::string common = found.words.front();
    for (const std::string& word : found.words) {
      const auto end = std::ranges::mismatch(common, word).in1;
      common.erase(end, common.end());
    }
    std::string more = common.substr(std::min(found.begun.size(), common.size()));
    if (found.words.size() == 1) more += ' ';
    if (!more.empty()) return el_insertstr(editor, more.c_str()) == 0 ? CC_REFRESH : CC_ERROR;
    std::fputs("\n", stdout);
    for (const std::string& word : found.words) std::printf("%s\n", word.c_str());
    return CC_REDISPLAY;
  }

  void remember(const std::string& line) {
    HistEvent event;
    history(history_, &event, H_ENTER, line.c_str());
    history(history_, &event, H_SAVE, file_.c_str());
  }

  std::string prompt_;
  std::filesystem::path file_;
  Complete complete_;
  ::History* history_ = nullptr;
  EditLine* editor_ = nullptr;
};

Terminal::Terminal(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Terminal::~Terminal() = default;

Result<std::unique_ptr<Terminal>> Terminal::open(std::string prompt, std::filesystem::path history,
                                                 Complete complete) {
  auto impl = std::make_unique<Impl>(std::move(prompt), std::move(history), std::move(complete));
  if (!impl->open())
    return Error{ErrorClass::kResource, "the terminal cannot be used for a line editor"};
  return std::unique_ptr<Terminal>(new Terminal(std::move(impl)));
}

std::optional<std::string> Terminal::line() { return impl_->line(); }

}  // namespace tracewise
