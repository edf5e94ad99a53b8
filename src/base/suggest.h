// "did you mean": the known word that a mistyped one is most like.
#ifndef FVD_BASE_SUGGEST_H_
#define FVD_BASE_SUGGEST_H_

#include <string>
#include <string_view>
#include <vector>

namespace fvd {

// The nearest of `known` (insertions, deletions, substitutions and swaps of neighbours count one each), or "" when none
// is near enough to be what was meant.
std::string suggest(std::string_view word, const std::vector<std::string_view>& known);

}  // namespace fvd

#endif  // FVD_BASE_SUGGEST_H_
