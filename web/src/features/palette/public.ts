export { Palette } from './Palette';
export { rank, shells, type Entry } from './model';
