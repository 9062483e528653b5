package bench

import (
	"fmt"
	"slices"
)

// series are figures of something that was measured again and again.
type series []float64

// at gives what a share of them is below, from 0 to 1.
func (s series) at(share float64) float64 {
	all := slices.Sorted(slices.Values(s))
	return all[min(int(share*float64(len(all))), len(all)-1)]
}

// low is what a thing takes when other work of the machine does not disturb it, which
// can only make it take more. It is not the least one, which may be a mistake.
func (s series) low() float64 { return s.at(0.1) }

// show gives the median, the least and the most, with so many digits after the point.
func (s series) show(digits int) string {
	return fmt.Sprintf("%.*f (%.*f to %.*f)", digits, s.at(0.5), digits, s.at(0), digits, s.at(1))
}

// less gives, round by round, how much more these figures are than others.
func (s series) less(others series) series {
	d := make(series, len(s))
	for i := range s {
		d[i] = s[i] - others[i]
	}
	return d
}

// per gives the ratios, round by round.
func (s series) per(others series) series {
	d := make(series, len(s))
	for i := range s {
		d[i] = s[i] / others[i]
	}
	return d
}

// middle is the mean of their middle half.
func (s series) middle() float64 {
	all := slices.Sorted(slices.Values(s))
	half := all[len(all)/4 : len(all)-len(all)/4]
	sum := 0.0
	for _, f := range half {
		sum += f
	}
	return sum / float64(len(half))
}

// parts gives the middles of so many parts.
func (s series) parts(n int) series {
	var middles series
	for part := range slices.Chunk(s, (len(s)+n-1)/n) {
		middles = append(middles, part.middle())
	}
	return middles
}
