;; The two passes of ../resize.ts, with 128-bit SIMD. A weight w of 22 fractional bits is used as
;; hi * 2048 + lo, 0 <= lo < 2048, so that 16-bit dot products give the exact 32-bit sums.
(module
  (memory (export "memory") 1)

  ;; Three-channel pixels to four; writes and reads in steps of four pixels.
  (func (export "widen") (param $in i32) (param $out i32) (param $pixels i32)
    (block $none
      (br_if $none (i32.le_s (local.get $pixels) (i32.const 0)))
      (loop $four
        (v128.store (local.get $out)
          (i8x16.swizzle (v128.load (local.get $in))
            (v128.const i8x16 0 1 2 -1 3 4 5 -1 6 7 8 -1 9 10 11 -1)))
        (local.set $in (i32.add (local.get $in) (i32.const 12)))
        (local.set $out (i32.add (local.get $out) (i32.const 16)))
        (local.set $pixels (i32.sub (local.get $pixels) (i32.const 4)))
        (br_if $four (i32.gt_s (local.get $pixels) (i32.const 0))))))

  ;; Two rows of four-channel pixels to `width` such pixels each. first: byte of each output's first
  ;; pixel within its row, i32. weights: of each output, for each four of `taps` pixels, 16-bit
  ;; hi hi hi hi lo lo lo lo.
  (func (export "across")
    (param $in i32) (param $inStride i32) (param $out i32) (param $outStride i32)
    (param $width i32) (param $first i32) (param $weights i32) (param $taps i32)
    (local $end i32) (local $last i32) (local $p i32)
    (local $hi v128) (local $lo v128) (local $hi2 v128) (local $lo2 v128)
    (local $v v128) (local $a v128) (local $b v128)
    (local $ha v128) (local $hb v128) (local $la v128) (local $lb v128)
    (local.set $end (i32.add (local.get $out) (i32.shl (local.get $width) (i32.const 2))))
    (loop $output
      (local.set $p (i32.add (local.get $in) (i32.load (local.get $first))))
      (local.set $last (i32.add (local.get $weights) (i32.shl (local.get $taps) (i32.const 2))))
      (local.set $hi (v128.const i32x4 0 0 0 0))
      (local.set $hi2 (v128.const i32x4 0 0 0 0))
      ;; A half, to round.
      (local.set $lo (v128.const i32x4 0x200000 0x200000 0x200000 0x200000))
      (local.set $lo2 (v128.const i32x4 0x200000 0x200000 0x200000 0x200000))
      (loop $four
        (local.set $ha (v128.load32_splat (local.get $weights)))
        (local.set $hb (v128.load32_splat offset=4 (local.get $weights)))
        (local.set $la (v128.load32_splat offset=8 (local.get $weights)))
        (local.set $lb (v128.load32_splat offset=12 (local.get $weights)))
        (local.set $v (v128.load (local.get $p)))
        (local.set $a (i8x16.swizzle (local.get $v)
          (v128.const i8x16 0 -1 4 -1 1 -1 5 -1 2 -1 6 -1 3 -1 7 -1)))
        (local.set $b (i8x16.swizzle (local.get $v)
          (v128.const i8x16 8 -1 12 -1 9 -1 13 -1 10 -1 14 -1 11 -1 15 -1)))
        (local.set $hi (i32x4.add (local.get $hi) (i32x4.add
          (i32x4.dot_i16x8_s (local.get $a) (local.get $ha))
          (i32x4.dot_i16x8_s (local.get $b) (local.get $hb)))))
        (local.set $lo (i32x4.add (local.get $lo) (i32x4.add
          (i32x4.dot_i16x8_s (local.get $a) (local.get $la))
          (i32x4.dot_i16x8_s (local.get $b) (local.get $lb)))))
        (local.set $v (v128.load (i32.add (local.get $p) (local.get $inStride))))
        (local.set $a (i8x16.swizzle (local.get $v)
          (v128.const i8x16 0 -1 4 -1 1 -1 5 -1 2 -1 6 -1 3 -1 7 -1)))
        (local.set $b (i8x16.swizzle (local.get $v)
          (v128.const i8x16 8 -1 12 -1 9 -1 13 -1 10 -1 14 -1 11 -1 15 -1)))
        (local.set $hi2 (i32x4.add (local.get $hi2) (i32x4.add
          (i32x4.dot_i16x8_s (local.get $a) (local.get $ha))
          (i32x4.dot_i16x8_s (local.get $b) (local.get $hb)))))
        (local.set $lo2 (i32x4.add (local.get $lo2) (i32x4.add
          (i32x4.dot_i16x8_s (local.get $a) (local.get $la))
          (i32x4.dot_i16x8_s (local.get $b) (local.get $lb)))))
        (local.set $p (i32.add (local.get $p) (i32.const 16)))
        (local.set $weights (i32.add (local.get $weights) (i32.const 16)))
        (br_if $four (i32.lt_u (local.get $weights) (local.get $last))))
      (local.set $v (i16x8.narrow_i32x4_s
        (i32x4.shr_s (i32x4.add (i32x4.shl (local.get $hi) (i32.const 11)) (local.get $lo)) (i32.const 22))
        (i32x4.shr_s (i32x4.add (i32x4.shl (local.get $hi2) (i32.const 11)) (local.get $lo2)) (i32.const 22))))
      (local.set $v (i8x16.narrow_i16x8_u (local.get $v) (local.get $v)))
      (v128.store32_lane 0 (local.get $out) (local.get $v))
      (v128.store32_lane 1 (i32.add (local.get $out) (local.get $outStride)) (local.get $v))
      (local.set $out (i32.add (local.get $out) (i32.const 4)))
      (local.set $first (i32.add (local.get $first) (i32.const 4)))
      (br_if $output (i32.lt_u (local.get $out) (local.get $end)))))

  ;; One row of `bytes` from `taps` rows, in steps of 16 bytes. weights: for each two rows, 16-bit
  ;; hi hi lo lo.
  (func (export "down")
    (param $in i32) (param $inStride i32) (param $out i32) (param $bytes i32)
    (param $weights i32) (param $taps i32)
    (local $end i32) (local $last i32) (local $p i32) (local $w i32)
    (local $a v128) (local $b v128) (local $c v128) (local $h v128) (local $l v128)
    (local $hi0 v128) (local $hi1 v128) (local $hi2 v128) (local $hi3 v128)
    (local $lo0 v128) (local $lo1 v128) (local $lo2 v128) (local $lo3 v128)
    (local.set $end (i32.add (local.get $out) (local.get $bytes)))
    (local.set $last (i32.add (local.get $weights) (i32.shl (local.get $taps) (i32.const 2))))
    (loop $output
      (local.set $p (local.get $in))
      (local.set $w (local.get $weights))
      (local.set $hi0 (v128.const i32x4 0 0 0 0))
      (local.set $hi1 (local.get $hi0))
      (local.set $hi2 (local.get $hi0))
      (local.set $hi3 (local.get $hi0))
      (local.set $lo0 (v128.const i32x4 0x200000 0x200000 0x200000 0x200000))
      (local.set $lo1 (local.get $lo0))
      (local.set $lo2 (local.get $lo0))
      (local.set $lo3 (local.get $lo0))
      (loop $two
        (local.set $a (v128.load (local.get $p)))
        (local.set $p (i32.add (local.get $p) (local.get $inStride)))
        (local.set $b (v128.load (local.get $p)))
        (local.set $p (i32.add (local.get $p) (local.get $inStride)))
        (local.set $h (v128.load32_splat (local.get $w)))
        (local.set $l (v128.load32_splat offset=4 (local.get $w)))
        (local.set $w (i32.add (local.get $w) (i32.const 8)))
        (local.set $c (i8x16.shuffle 0 16 1 17 2 18 3 19 4 20 5 21 6 22 7 23 (local.get $a) (local.get $b)))
        (local.set $a (i8x16.shuffle 8 24 9 25 10 26 11 27 12 28 13 29 14 30 15 31 (local.get $a) (local.get $b)))
        (local.set $b (i16x8.extend_low_i8x16_u (local.get $c)))
        (local.set $hi0 (i32x4.add (local.get $hi0) (i32x4.dot_i16x8_s (local.get $b) (local.get $h))))
        (local.set $lo0 (i32x4.add (local.get $lo0) (i32x4.dot_i16x8_s (local.get $b) (local.get $l))))
        (local.set $b (i16x8.extend_high_i8x16_u (local.get $c)))
        (local.set $hi1 (i32x4.add (local.get $hi1) (i32x4.dot_i16x8_s (local.get $b) (local.get $h))))
        (local.set $lo1 (i32x4.add (local.get $lo1) (i32x4.dot_i16x8_s (local.get $b) (local.get $l))))
        (local.set $b (i16x8.extend_low_i8x16_u (local.get $a)))
        (local.set $hi2 (i32x4.add (local.get $hi2) (i32x4.dot_i16x8_s (local.get $b) (local.get $h))))
        (local.set $lo2 (i32x4.add (local.get $lo2) (i32x4.dot_i16x8_s (local.get $b) (local.get $l))))
        (local.set $b (i16x8.extend_high_i8x16_u (local.get $a)))
        (local.set $hi3 (i32x4.add (local.get $hi3) (i32x4.dot_i16x8_s (local.get $b) (local.get $h))))
        (local.set $lo3 (i32x4.add (local.get $lo3) (i32x4.dot_i16x8_s (local.get $b) (local.get $l))))
        (br_if $two (i32.lt_u (local.get $w) (local.get $last))))
      (v128.store (local.get $out) (i8x16.narrow_i16x8_u
        (i16x8.narrow_i32x4_s
          (i32x4.shr_s (i32x4.add (i32x4.shl (local.get $hi0) (i32.const 11)) (local.get $lo0)) (i32.const 22))
          (i32x4.shr_s (i32x4.add (i32x4.shl (local.get $hi1) (i32.const 11)) (local.get $lo1)) (i32.const 22)))
        (i16x8.narrow_i32x4_s
          (i32x4.shr_s (i32x4.add (i32x4.shl (local.get $hi2) (i32.const 11)) (local.get $lo2)) (i32.const 22))
          (i32x4.shr_s (i32x4.add (i32x4.shl (local.get $hi3) (i32.const 11)) (local.get $lo3)) (i32.const 22)))))
      (local.set $in (i32.add (local.get $in) (i32.const 16)))
      (local.set $out (i32.add (local.get $out) (i32.const 16)))
      (br_if $output (i32.lt_u (local.get $out) (local.get $end)))))
)
